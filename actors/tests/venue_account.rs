//! What the simulated venue promises about orders that hang together, changes, money and costs.

mod kit;

use kit::*;
use tradeflow_actors::actor::Fault;
use tradeflow_actors::execution::OrderRequest;
use tradeflow_actors::strategy::{Context, Strategy};
use tradeflow_model::market::SeriesKind;
use tradeflow_model::plan::Slippage;
use tradeflow_model::{Bar, Order, OrderEvent, OrderEventKind, Side, SignalSide};

fn bars() -> Setup {
    Setup::stock(&[bars_of("1m")])
}

const FLAT: &str = "bar 10:00 100 101 99 100
                    bar 10:01 100 101 99 100
                    bar 10:02 100 101 99 100
                    bar 10:03 100 101 99 100";

#[test]
fn a_cash_account_can_not_be_short() {
    let ran = bars().run(vec![send("10:01", market(Side::Sell, 10))], FLAT);
    assert_eq!(ran.orders(), ["market cancelled 0/10: not enough cash or margin for the rest"]);
    assert_eq!(ran.held(), 0);
    // Ten are held: of fifteen ten are sold.
    let ran =
        bars().run(vec![send("10:01", market(Side::Buy, 10)), send("10:02", market(Side::Sell, 15))], FLAT);
    assert_eq!(ran.orders()[1], "market cancelled 10/15: not enough cash or margin for the rest");
    assert_eq!(ran.held(), 0);
}

/// 10,000 at 100 each and 10 bps: 99 cost 9,900 + 9.90, a hundred would cost 10,010.
#[test]
fn a_cash_account_buys_what_it_can_pay_for_with_the_fee() {
    let ran = bars().fees("10", "0", "0", "0").run(vec![send("10:01", market(Side::Buy, 1000))], FLAT);
    assert_eq!(ran.fills(), ["10:01:00 buy 99 @ 100.00 fee 9.9"]);
    assert_eq!(ran.cash(), "90.1");
    assert_eq!(ran.orders(), ["market cancelled 99/1000: not enough cash or margin for the rest"]);
}

/// Contracts of 50 × 100 = 5,000 each do not leave the cash of 10,000, but they use it up: two, not a third.
#[test]
fn a_cash_account_can_not_overspend_on_contracts() {
    let setup = Setup::new(vec![future("FUT")], &[(0, bars_of("1m"))]);
    let ran = setup.run(
        vec![
            send("10:01", market(Side::Buy, 1)),
            send("10:02", market(Side::Buy, 1)),
            send("10:03", market(Side::Buy, 1)),
        ],
        FLAT,
    );
    assert_eq!(ran.held(), 2);
    assert_eq!(ran.cash(), "10000");
}

/// A fee of at least 50 for selling one share at 10 with 0 cash left would leave −40.
#[test]
fn a_cash_account_can_not_owe_a_fee() {
    let ran = bars().cash(150).fees("0", "0", "0", "50").run(
        vec![send("10:01", market(Side::Buy, 1)), send("10:02", market(Side::Sell, 1))],
        "bar 10:00 100 101 99 100
         bar 10:01 100 101 99 100
         bar 10:02 10 11 9 10",
    );
    assert_eq!(ran.cash(), "0");
    assert_eq!(ran.orders()[1], "market cancelled 0/1: not enough cash or margin for the rest");
}

/// Equity 10,000 at leverage 2: positions of 20,000, so 200 at 100, long or short; with a fee of 100 bps and a slippage
/// of 1 the promise is about what is left: 100 q ≤ 2 (10,000 − 1.01 q − q), so q = 192 (19,200 ≤ 19,228.16).
#[test]
fn a_margin_account_opens_up_to_its_leverage() {
    for (side, held) in [(Side::Buy, 200), (Side::Sell, -200)] {
        let ran = bars().margin(2).run(vec![send("10:01", market(side, 1000))], FLAT);
        assert_eq!(ran.held(), held);
    }
    let costly = bars().margin(2).fees("100", "0", "0", "0");
    let costly = costly.venue(|venue| venue.slippage = Slippage::Spread("2".parse().unwrap()));
    let ran = costly.run(vec![send("10:01", market(Side::Buy, 1000))], FLAT);
    assert_eq!(ran.fills(), ["10:01:00 buy 192 @ 101.00 fee 193.92"]);
}

/// Turning from 200 long to short: what closes always may, what opens is limited by the leverage.
#[test]
fn a_position_can_be_turned_on_margin() {
    let ran = bars()
        .margin(2)
        .run(vec![send("10:01", market(Side::Buy, 200)), send("10:02", market(Side::Sell, 1000))], FLAT);
    assert_eq!(ran.held(), -200);
    assert_eq!(ran.counters.trades, 1);
}

/// Taker: 25 bps of 1,000 and 10 × 0.01; the maker's limit fills for −5 bps and the same a unit: a rebate of
/// 0.49 − 0.10, to which no minimum applies.
#[test]
fn fees_are_by_value_by_unit_and_at_least_the_minimum() {
    let script =
        || vec![send("10:01", market(Side::Buy, 10)), send("10:02", limit(Side::Sell, 10, "100.50"))];
    let ran = bars().fees("25", "-5", "0.01", "1").run(script(), FLAT);
    // 25 bps of 1,000 = 2.50, and 0.10; −5 bps of 1,005 = −0.5025, and 0.10
    assert_eq!(ran.fills(), ["10:01:00 buy 10 @ 100.00 fee 2.6", "10:03:00 sell 10 @ 100.50 fee -0.4025"]);
    let ran = bars().fees("1", "1", "0", "1").run(script(), FLAT);
    assert_eq!(ran.fills(), ["10:01:00 buy 10 @ 100.00 fee 1", "10:03:00 sell 10 @ 100.50 fee 1"]);
    // 10,000 − 1,000 − 1 + 1,005 − 1
    assert_eq!(ran.cash(), "10003");
}

/// 5 bps of 100 are 0.05; half a spread of 0.10 is 0.05; a resting limit has no slippage.
#[test]
fn takers_slip_and_makers_do_not() {
    for slippage in [Slippage::Bps("5".parse().unwrap()), Slippage::Spread("0.1".parse().unwrap())] {
        let ran = bars().venue(|venue| venue.slippage = slippage).run(
            vec![
                send("10:01", market(Side::Buy, 10)),
                send("10:02", limit(Side::Sell, 5, "100.50")),
                send("10:03", market(Side::Sell, 5)),
            ],
            FLAT,
        );
        assert_eq!(
            ran.fills(),
            ["10:01:00 buy 10 @ 100.05", "10:03:00 sell 5 @ 100.50", "10:03:00 sell 5 @ 99.95"]
        );
    }
}

/// Slippage never takes a limit order beyond its limit.
#[test]
fn slippage_stops_at_the_limit() {
    let slips = bars().venue(|venue| venue.slippage = Slippage::Spread("2".parse().unwrap()));
    let ran = slips.run(vec![send("10:01", limit(Side::Buy, 10, "100.30"))], FLAT);
    assert_eq!(ran.fills(), ["10:01:00 buy 10 @ 100.30"]);
}

/// The entry of 12 fills 5 + 5 + 2 at a tenth of 50. Exits have only what the entry has: the stop of the second bar
/// sells the 5 that were bought at its open (and no more fills in that bar: the cap is used up, so they wait).
#[test]
fn exits_live_for_as_much_as_their_entry_has_filled() {
    let capped = bars().venue(|venue| venue.volume_share_max = Some("0.1".parse().unwrap()));
    let entry = market(Side::Buy, 12).with_bracket(Some(price("98")), Some(price("110")));
    let ran = capped.run(
        vec![send("10:01", entry)],
        "bar 10:00 100 101 99 100 50
         bar 10:01 100 101 99 100 50
         bar 10:02 100 101 99 100 50
         bar 10:03 100 101 99 100 50
         bar 10:04 100 101 99 100 50
         bar 10:05 100 111 99 105 10000",
    );
    assert_eq!(
        ran.fills(),
        [
            "10:01:00 buy 5 @ 100.00",
            "10:02:00 buy 5 @ 100.00",
            "10:03:00 buy 2 @ 100.00",
            "10:06:00 sell 12 @ 110.00",
        ]
    );
    assert_eq!(ran.orders()[2], "stop cancelled 0/12: the order it hung on ended");
}

/// The stop sells the first 5 while the entry still wants 7 more: these are stopped out as they come, and nothing is
/// left unprotected. The cap of 5 a bar is shared, so buying and selling take turns.
#[test]
fn a_stop_closes_what_its_entry_fills_later() {
    let capped = bars().venue(|venue| venue.volume_share_max = Some("0.1".parse().unwrap()));
    let entry = limit(Side::Buy, 12, "100").with_bracket(Some(price("98")), None);
    let ran = capped.run(
        vec![send("10:01", entry)],
        "bar 10:00 101 102 100 101 50
         bar 10:01 100 101 99 100 50
         bar 10:02 97 98 96 97 50
         bar 10:03 97 98 96 97 50
         bar 10:04 97 98 96 97 50
         bar 10:05 97 98 96 97 50
         bar 10:06 97 98 96 97 50
         bar 10:07 97 98 96 97 50",
    );
    assert_eq!(ran.held(), 0);
    let bought: i64 =
        ran.output.fills.iter().map(|f| if f.side == Side::Buy { f.qty.raw() } else { 0 }).sum();
    assert_eq!(bought, 12);
    assert_eq!(ran.cell.venue().working(), 0);
}

/// The target takes 5 of 10, then the stop the other 5; with the last unit both have ended.
#[test]
fn one_exit_makes_the_other_as_much_smaller() {
    let capped = bars().venue(|venue| venue.volume_share_max = Some("0.1".parse().unwrap()));
    let entry = market(Side::Buy, 10).with_bracket(Some(price("98")), Some(price("102")));
    let ran = capped.run(
        vec![send("10:01", entry)],
        "bar 10:00 100 101 99 100 1000
         bar 10:01 100 101 99 100 1000
         bar 10:02 100 103 99 102 50
         bar 10:03 100 101 97 99 1000",
    );
    assert_eq!(
        ran.fills(),
        ["10:01:00 buy 10 @ 100.00", "10:03:00 sell 5 @ 102.00", "10:04:00 sell 5 @ 98.00"]
    );
    assert_eq!(ran.held(), 0);
    assert_eq!(ran.cell.venue().working(), 0);
}

#[test]
fn exits_of_an_entry_that_is_cancelled_unfilled_end_with_it() {
    let entry = limit(Side::Buy, 10, "90").with_bracket(Some(price("88")), Some(price("102")));
    let ran = bars().run(vec![send("10:01", entry), on("10:02", Act::Cancel(0))], FLAT);
    assert_eq!(
        ran.orders(),
        [
            "limit cancelled 0/10: requested",
            "stop cancelled 0/10: the order it hung on ended",
            "limit cancelled 0/10: the order it hung on ended",
        ]
    );
}

#[test]
fn a_reduce_only_order_never_opens() {
    let reduce = |request: OrderRequest| OrderRequest { reduce_only: true, ..request };
    let ran = bars().margin(2).run(
        vec![
            send("10:01", reduce(market(Side::Sell, 5))),
            send("10:01", market(Side::Buy, 10)),
            send("10:02", reduce(market(Side::Sell, 15))),
        ],
        FLAT,
    );
    assert_eq!(ran.orders()[0], "market rejected 0/5: reduce-only, and there is no position to reduce");
    assert_eq!(ran.held(), 0);
    // Ten of fifteen are sold; for the rest there is nothing left to reduce.
    assert_eq!(ran.orders()[2], "market cancelled 10/15: nothing left to reduce");
}

/// To 99.50 and 4: the low of 99 reaches it, the low of 99.60 before did not reach 90.
#[test]
fn a_change_moves_price_and_quantity() {
    let ran = bars().run(
        vec![
            send("10:01", limit(Side::Buy, 10, "90")),
            on("10:02", Act::Modify(0, 4, Some(price("99.50")), None)),
        ],
        FLAT,
    );
    assert_eq!(ran.fills(), ["10:03:00 buy 4 @ 99.50"]);
    assert_eq!(ran.orders(), ["limit filled 4/4"]);
}

/// A price for a market order, a quantity of zero, a price off the tick, a value above the limit of the risk gate: each
/// is refused and counted, and the order stays as it was.
#[test]
fn a_change_that_makes_no_sense_or_breaks_a_limit_is_refused() {
    let mut setup = bars();
    setup.plan.instruments[0].price_increment = price("0.05");
    setup.cell().risk.order_notional_max = Some(2_000.into());
    let ran = setup.run(
        vec![
            send("10:01", limit(Side::Buy, 10, "90")),
            on("10:02", Act::Modify(0, 10, None, Some(price("90")))),
            on("10:02", Act::Modify(0, 0, None, None)),
            on("10:02", Act::Modify(0, 10, Some(price("90.01")), None)),
            on("10:02", Act::Modify(0, 1000, None, None)),
        ],
        FLAT,
    );
    assert_eq!(ran.counters.changes_refused, 4);
    assert_eq!(ran.orders(), ["limit accepted 0/10"]);
}

#[test]
fn a_cancel_is_confirmed_and_nothing_fills_after_it() {
    let ran = bars().run(
        vec![send("10:01", limit(Side::Buy, 10, "99.50")), (When::Timer(at("10:01:30")), Act::Cancel(0))],
        "bar 10:00 100 101 99.60 100
         bar 10:02 100 101 99 100",
    );
    assert_eq!(ran.orders(), ["limit cancelled 0/10: requested"]);
    assert!(ran.fills().is_empty());
}

/// A change of an order for the close leaves it one for the close.
#[test]
fn a_changed_auction_order_stays_in_its_auction() {
    let setup = Setup::stock(&[bars_of("1m"), SeriesKind::SessionCloses]);
    let order =
        OrderRequest { execution: tradeflow_model::order::Execution::OnClose, ..limit(Side::Buy, 10, "99") };
    let ran = setup.run(
        vec![send("10:01", order), on("10:02", Act::Modify(0, 10, Some(price("105")), None))],
        "bar 10:00 100 101 99 100
         bar 10:01 100 101 99 100
         bar 10:02 100 101 99 100.50
         close 10:03",
    );
    assert_eq!(ran.fills(), ["10:03:00 buy 10 @ 100.50"]);
}

/// Cancels whatever it has as soon as it hears of it: while the order and its exits are only on their way.
struct Hasty {
    sent: bool,
    heard: u32,
}

impl Strategy for Hasty {
    fn on_bar(&mut self, context: &mut Context<'_>, _bar: &Bar) {
        if !self.sent {
            self.sent = true;
            context.submit(market(Side::Buy, 10).with_bracket(Some(price("90")), Some(price("110"))));
        }
    }

    fn on_order_event(&mut self, context: &mut Context<'_>, event: &OrderEvent, order: &Order) {
        self.heard += 1;
        if event.kind == OrderEventKind::Submitted {
            let all: Vec<_> = context.open_orders(order.instrument).map(|order| order.id).collect();
            all.into_iter().for_each(|id| context.cancel(id));
        }
    }

    fn snapshot(&self) -> Result<Vec<u8>, Fault> {
        Ok(Vec::new())
    }

    fn restore(&mut self, _snapshot: &[u8]) -> Result<(), Fault> {
        Ok(())
    }
}

#[test]
fn an_order_can_be_cancelled_while_it_is_on_its_way() {
    let setup = bars();
    let mut cell =
        setup.build(vec![(setup.strategy_plan("hasty", 0), Box::new(Hasty { sent: false, heard: 0 }))]);
    for event in setup.events(FLAT) {
        cell.on_event(&event).unwrap();
    }
    assert!(cell.cell().orders().is_empty());
    assert_eq!(cell.venue().working(), 0);
    assert_eq!(cell.counters().fills, 0);
}

/// Buys 10 at the open of the second bar, 100.20, for a fee of 1. The point of the first bar knows nothing of that;
/// the point of the second has the fill at the mark of its close, 100.50: 10,000 − 1 + 10 × 0.30.
#[test]
fn a_point_of_the_equity_curve_is_the_state_after_its_event() {
    let mut setup = bars().fees("0", "0", "0", "1");
    setup.cell().equity_interval_ns = 60_000_000_000;
    let ran = setup.run(
        vec![send("10:01", market(Side::Buy, 10))],
        "bar 10:00 100 101 99 100
         bar 10:01 100.20 101 99 100.50",
    );
    let unit = 1_000_000_000_000_000_000_i128;
    assert_eq!(ran.output.equity.ts_event, [at("10:01").as_nanos(), at("10:02").as_nanos()]);
    assert_eq!(ran.output.equity.equity, [10_000 * unit, 10_002 * unit]);
    assert_eq!(ran.output.equity.cash, [10_000 * unit, 8_997 * unit]);
}

/// 15 shares, 3 for 2: 22 and half a share at the mark of 100 ÷ 1.5. A dividend of 0.50 on 22. The books of venue and
/// account agree though two series of different prices mark the position.
#[test]
fn splits_and_dividends_leave_the_books_in_agreement() {
    let setup = Setup::stock(&[SeriesKind::Actions, SeriesKind::Quotes, bars_of("1m")]);
    let ran = setup.run(
        vec![send("10:01:10", market(Side::Buy, 15)), send("11:00:01", market(Side::Sell, 22))],
        "bar 10:00 100 101 99 100
         quote 10:01:10 99 99.02
         quote 10:01:20 99 99
         bar 10:01 100 101 99 100
         split 10:30 3 2
         dividend 10:31 0.50
         quote 11:00:01 66 66.02
         quote 11:00:02 66 66.02",
    );
    assert_eq!(ran.fills(), ["10:01:20 buy 15 @ 99.00", "11:00:02 sell 22 @ 66.00"]);
    // 10,000 − 15 × 99 + a third of 100 (half a share of 200/3) + 11 + 22 × 66; the third is rounded at 10⁻¹⁸
    assert_eq!(&ran.cash()[..8], "10011.33");
    assert_eq!(ran.held(), 0);
}

/// A signal's size is the position wanted, not an amount to add: 10 long, then 10 short, then flat.
#[test]
fn signals_say_what_position_is_wanted() {
    let signal = |clock: &str, side| on(clock, Act::Signal(side, None, None));
    let ran = bars().margin(2).run(
        vec![
            signal("10:01", SignalSide::Buy),
            signal("10:02", SignalSide::Buy),
            signal("10:02", SignalSide::Sell),
            signal("10:03", SignalSide::Close),
        ],
        "bar 10:00 100 101 99 100
         bar 10:01 100 101 99 100
         bar 10:02 100 101 99 100
         bar 10:03 100 101 99 100",
    );
    assert_eq!(
        ran.fills(),
        ["10:01:00 buy 10 @ 100.00", "10:02:00 sell 20 @ 100.00", "10:03:00 buy 10 @ 100.00"]
    );
    assert_eq!(ran.counters.signals_idle, 1);
}
