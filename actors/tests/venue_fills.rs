//! What the simulated venue promises about fills, one test a promise; each expectation is worked out beside it.

mod kit;

use kit::*;
use tradeflow_model::order::{Execution, TrailOffset};
use tradeflow_model::plan::LimitFill;
use tradeflow_model::{OrderKind, Side, TimeInForce};

fn bars() -> Setup {
    Setup::stock(&[bars_of("1m")]).margin(2)
}

#[test]
fn a_market_order_fills_at_the_next_open() {
    let ran = bars().run(
        vec![send("10:01", market(Side::Buy, 10))],
        "bar 10:00 100 101 99 100.50
         bar 10:01 100.70 102 100 101",
    );
    assert_eq!(ran.fills(), ["10:01:00 buy 10 @ 100.70"]);
    // 10,000 − 10 × 100.70
    assert_eq!(ran.cash(), "8993");
}

#[test]
fn a_stop_in_a_gap_fills_at_the_open() {
    let ran = bars().run(
        vec![send("10:01", market(Side::Buy, 10)), send("10:01", stop(Side::Sell, 10, "99"))],
        "bar 10:00 100 101 99.50 100
         bar 10:01 100 101 99.50 100
         bar 10:02 97 98 96 97.50",
    );
    assert_eq!(ran.fills(), ["10:01:00 buy 10 @ 100.00", "10:02:00 sell 10 @ 97.00"]);
}

#[test]
fn a_stop_inside_a_bar_fills_at_its_trigger_when_the_bar_is_over() {
    let ran = bars().run(
        vec![send("10:01", stop(Side::Buy, 10, "102"))],
        "bar 10:00 100 101 99 100
         bar 10:01 100 103 99 100",
    );
    assert_eq!(ran.fills(), ["10:02:00 buy 10 @ 102.00"]);
    assert_eq!(ran.orders(), ["stop filled 10/10"]);
}

/// A bar that holds both: nobody knows which came first, so the loss is taken.
#[test]
fn the_stop_wins_over_the_target_in_one_bar() {
    let entry = market(Side::Buy, 10).with_bracket(Some(price("98")), Some(price("102")));
    let ran = bars().run(
        vec![send("10:01", entry)],
        "bar 10:00 100 101 99 100
         bar 10:01 100 101 99 100
         bar 10:02 100 105 95 100",
    );
    assert_eq!(ran.fills(), ["10:01:00 buy 10 @ 100.00", "10:03:00 sell 10 @ 98.00"]);
    assert_eq!(
        ran.orders(),
        ["market filled 10/10", "stop filled 10/10", "limit cancelled 0/10: the order it hung on ended"]
    );
}

#[test]
fn a_stop_of_an_entry_inside_the_bar_is_taken_as_hit_in_the_same_bar() {
    let entry = limit(Side::Buy, 10, "99").with_bracket(Some(price("98")), None);
    let ran = bars().run(
        vec![send("10:01", entry)],
        "bar 10:00 100 101 99.50 100
         bar 10:01 100 101 97 100",
    );
    assert_eq!(ran.fills(), ["10:02:00 buy 10 @ 99.00", "10:02:00 sell 10 @ 98.00"]);
}

/// The high of 103 may have come before the low that filled the entry.
#[test]
fn a_target_waits_for_the_next_bar_after_an_entry_inside_the_bar() {
    let entry = limit(Side::Buy, 10, "99").with_bracket(None, Some(price("102")));
    let ran = bars().run(
        vec![send("10:01", entry)],
        "bar 10:00 100 101 99.50 100
         bar 10:01 100 103 98 100
         bar 10:02 100 103 99 100",
    );
    assert_eq!(ran.fills(), ["10:02:00 buy 10 @ 99.00", "10:03:00 sell 10 @ 102.00"]);
}

/// The open comes before everything else in the bar, so the high of 103 came after the entry.
#[test]
fn a_target_may_fill_in_the_bar_whose_open_filled_the_entry() {
    let entry = market(Side::Buy, 10).with_bracket(None, Some(price("102")));
    let ran = bars().run(
        vec![send("10:01", entry)],
        "bar 10:00 100 101 99 100
         bar 10:01 100 103 99 100",
    );
    assert_eq!(ran.fills(), ["10:01:00 buy 10 @ 100.00", "10:02:00 sell 10 @ 102.00"]);
}

/// The market opens at 95, below the stop at 98: the entry buys at 95 and the stop sells at 95 at once. Selling at 98
/// would be a profit that nobody could have had.
#[test]
fn a_stop_that_the_entry_has_passed_already_fills_at_the_entry_price() {
    let entry = market(Side::Buy, 10).with_bracket(Some(price("98")), None);
    let ran = bars().run(
        vec![send("10:01", entry)],
        "bar 10:00 100 101 99 100
         bar 10:01 95 99 94 96",
    );
    assert_eq!(ran.fills(), ["10:01:00 buy 10 @ 95.00", "10:01:00 sell 10 @ 95.00"]);
}

/// The same for a target that the open has passed: a sell limit at 102 in a market at 105 sells at 105.
#[test]
fn a_target_that_the_entry_has_passed_already_fills_at_the_market() {
    let entry = market(Side::Buy, 10).with_bracket(None, Some(price("102")));
    let ran = bars().run(
        vec![send("10:01", entry)],
        "bar 10:00 100 101 99 100
         bar 10:01 105 106 101 103",
    );
    assert_eq!(ran.fills(), ["10:01:00 buy 10 @ 105.00", "10:01:00 sell 10 @ 105.00"]);
}

#[test]
fn a_resting_limit_fills_through_its_price_and_by_choice_at_a_touch() {
    let market = "bar 10:00 100 101 99 100
                  bar 10:01 100 101 98 100
                  bar 10:02 100 101 97.99 100";
    let script = || vec![send("10:01", limit(Side::Buy, 10, "98"))];
    assert_eq!(bars().run(script(), market).fills(), ["10:03:00 buy 10 @ 98.00"]);
    let touch = bars().venue(|venue| venue.limit_fill = LimitFill::Touch);
    assert_eq!(touch.run(script(), market).fills(), ["10:02:00 buy 10 @ 98.00"]);
}

/// It rested when the market opened beyond it: whoever opened the market had to trade with it, at the open.
#[test]
fn a_limit_in_a_gap_fills_at_the_better_open() {
    let ran = bars().run(
        vec![send("10:01", limit(Side::Buy, 10, "98"))],
        "bar 10:00 100 101 99 100
         bar 10:01 100 101 99 100
         bar 10:02 95 96 94 95",
    );
    assert_eq!(ran.fills(), ["10:02:00 buy 10 @ 95.00"]);
}

/// A tenth of 50 is 5 a bar: 5, 5, 2.
#[test]
fn the_volume_caps_a_fill_and_the_rest_carries_over() {
    let capped = bars().venue(|venue| venue.volume_share_max = Some("0.1".parse().unwrap()));
    let ran = capped.run(
        vec![send("10:01", market(Side::Buy, 12))],
        "bar 10:00 100 101 99 100 50
         bar 10:01 100 101 99 100 50
         bar 10:02 101 102 100 101 50
         bar 10:03 102 103 101 102 50",
    );
    assert_eq!(
        ran.fills(),
        ["10:01:00 buy 5 @ 100.00", "10:02:00 buy 5 @ 101.00", "10:03:00 buy 2 @ 102.00"]
    );
}

/// Two orders share one cap: a tenth of 50 is 5, and the second gets nothing in that bar.
#[test]
fn orders_of_one_bar_share_its_volume() {
    let capped = bars().venue(|venue| venue.volume_share_max = Some("0.1".parse().unwrap()));
    let ran = capped.run(
        vec![send("10:01", market(Side::Buy, 5)), send("10:01", market(Side::Buy, 3))],
        "bar 10:00 100 101 99 100 50
         bar 10:01 100 101 99 100 50
         bar 10:02 101 102 100 101 50",
    );
    assert_eq!(ran.fills(), ["10:01:00 buy 5 @ 100.00", "10:02:00 buy 3 @ 101.00"]);
}

#[test]
fn data_without_volume_does_not_cap() {
    let capped = bars().venue(|venue| venue.volume_share_max = Some("0.1".parse().unwrap()));
    let ran = capped.run(
        vec![send("10:01", market(Side::Buy, 50))],
        "bar 10:00 100 101 99 100 0
         bar 10:01 100 101 99 100 0",
    );
    assert_eq!(ran.fills(), ["10:01:00 buy 50 @ 100.00"]);
    assert_eq!(ran.counters.fills_over_volume, 0);
}

/// Without a cap 10 of a volume of 50 are more than a tenth: filled, and counted.
#[test]
fn a_fill_above_a_tenth_of_the_volume_is_counted() {
    let ran = bars().run(
        vec![send("10:01", market(Side::Buy, 10))],
        "bar 10:00 100 101 99 100 50
         bar 10:01 100 101 99 100 50",
    );
    assert_eq!(ran.counters.fills_over_volume, 1);
}

#[test]
fn a_crossed_quote_fills_nothing() {
    let quotes = Setup::stock(&[tradeflow_model::market::SeriesKind::Quotes]).margin(2);
    let ran = quotes.run(
        vec![send("10:00:01", market(Side::Buy, 10))],
        "quote 10:00:01 100 100.02
         quote 10:00:02 101 100
         quote 10:00:03 100 100.04",
    );
    assert_eq!(ran.fills(), ["10:00:03 buy 10 @ 100.04"]);
}

/// The default limit is a minute: 61 seconds is too old, 60 is not.
#[test]
fn a_stale_price_fills_nothing() {
    let trades = Setup::stock(&[tradeflow_model::market::SeriesKind::Trades]).margin(2);
    let ran = trades.run(
        vec![send("10:00:01", market(Side::Buy, 10))],
        "trade 10:00:01 100 500
         trade 10:00:02 90 500 late 61
         trade 10:00:03 101 500 late 60",
    );
    assert_eq!(ran.fills(), ["10:00:03 buy 10 @ 101.00"]);
}

/// The ask is paid, the bid is got; the quote's sizes cap where a cap is asked for.
#[test]
fn takers_pay_the_spread_and_get_what_is_quoted() {
    let quotes = Setup::stock(&[tradeflow_model::market::SeriesKind::Quotes])
        .margin(2)
        .venue(|venue| venue.volume_share_max = Some("0.1".parse().unwrap()));
    let ran = quotes.run(
        vec![send("10:00:01", market(Side::Buy, 10)), send("10:00:03", market(Side::Sell, 10))],
        "quote 10:00:01 100 100.02 50 50
         quote 10:00:02 100 100.02 50 7
         quote 10:00:03 101 101.02 50 50
         quote 10:00:04 102 102.02 50 50",
    );
    assert_eq!(
        ran.fills(),
        ["10:00:02 buy 7 @ 100.02", "10:00:03 buy 3 @ 101.02", "10:00:04 sell 10 @ 102.00"]
    );
}

/// The order is sent at 10:01:30 by a timer; the bar of 10:01 had opened by then, so the next one fills.
#[test]
fn an_order_from_inside_a_bar_is_not_matched_with_that_bar() {
    let ran = bars().run(
        vec![send_by_timer("10:01:30", market(Side::Buy, 10))],
        "bar 10:00 100 101 99 100
         bar 10:01 90 110 80 100
         bar 10:02 103 104 102 103",
    );
    assert_eq!(ran.fills(), ["10:02:00 buy 10 @ 103.00"]);
}

/// A limit of 50 waits; at 10:01:30 a timer lifts it to 95. The bar of 10:01 went to 80, but perhaps before 10:01:30.
#[test]
fn a_change_from_inside_a_bar_does_not_count_in_that_bar() {
    let change = Act::Modify(0, 10, Some(price("95")), None);
    let ran = bars().run(
        vec![send("10:01", limit(Side::Buy, 10, "50")), (When::Timer(at("10:01:30")), change)],
        "bar 10:00 100 101 99 100
         bar 10:01 100 101 80 100
         bar 10:02 100 101 94 100",
    );
    assert_eq!(ran.fills(), ["10:03:00 buy 10 @ 95.00"]);
}

/// Best 104 after the second bar, so the trigger is 102; the third bar falls to 101.
#[test]
fn a_trailing_stop_follows_at_a_distance() {
    let trailing = OrderKind::TrailingStop { offset: TrailOffset::Price(price("2")), trigger: None };
    let exit = tradeflow_actors::execution::OrderRequest { kind: trailing, ..market(Side::Sell, 10) };
    let ran = bars().run(
        vec![send("10:01", market(Side::Buy, 10)), send("10:02", exit)],
        "bar 10:00 100 101 99 100
         bar 10:01 100 101 99 100
         bar 10:02 101 104 100 103
         bar 10:03 103 103.50 101 101.50",
    );
    assert_eq!(ran.fills(), ["10:01:00 buy 10 @ 100.00", "10:04:00 sell 10 @ 102.00"]);
}

/// 100 bps of the best price 200 are 2, so the trigger is 198. It is not set off by the low of the bar that made the
/// high, for that may have come first, but by its close, which came after: 197.
#[test]
fn a_trailing_stop_in_basis_points_sees_high_then_close() {
    let trailing = OrderKind::TrailingStop { offset: TrailOffset::Bps(100), trigger: None };
    let exit = tradeflow_actors::execution::OrderRequest { kind: trailing, ..market(Side::Sell, 10) };
    let market_of = |close: &str| {
        format!(
            "bar 10:00 190 191 189 190
             bar 10:01 190 191 189 190
             bar 10:02 190 200 190 {close}"
        )
    };
    let script = || vec![send("10:01", market(Side::Buy, 10)), send("10:02", exit)];
    let bought = "10:01:00 buy 10 @ 190.00";
    assert_eq!(bars().run(script(), &market_of("199")).fills(), [bought]);
    assert_eq!(bars().run(script(), &market_of("197")).fills(), [bought, "10:03:00 sell 10 @ 198.00"]);
}

/// Triggered at 102 within the bar and good to 103: it takes at the trigger. Triggered by an open at 105 beyond its
/// limit of 103 it waits as a limit, and fills when the price comes back through.
#[test]
fn a_stop_limit_takes_up_to_its_limit_and_waits_beyond() {
    let kind = OrderKind::StopLimit { trigger: price("102"), price: price("103") };
    let order = tradeflow_actors::execution::OrderRequest { kind, ..market(Side::Buy, 10) };
    let ran = bars().run(
        vec![send("10:01", order)],
        "bar 10:00 100 101 99 100
         bar 10:01 100 104 99 104",
    );
    assert_eq!(ran.fills(), ["10:02:00 buy 10 @ 102.00"]);
    let ran = bars().run(
        vec![send("10:01", order)],
        "bar 10:00 100 101 99 100
         bar 10:01 105 106 104 105
         bar 10:02 105 106 102.50 104",
    );
    assert_eq!(ran.fills(), ["10:03:00 buy 10 @ 103.00"]);
}

/// A buy stop at 102 that then wants 99 or less: the low of 98 may have come before the high of 103.
#[test]
fn a_stop_that_became_a_limit_inside_a_bar_waits_for_the_next() {
    let kind = OrderKind::StopLimit { trigger: price("102"), price: price("99") };
    let order = tradeflow_actors::execution::OrderRequest { kind, ..market(Side::Buy, 10) };
    let ran = bars().run(
        vec![send("10:01", order)],
        "bar 10:00 100 101 99.50 100
         bar 10:01 100 103 98 102
         bar 10:02 102 103 98.50 100",
    );
    assert_eq!(ran.fills(), ["10:03:00 buy 10 @ 99.00"]);
}

#[test]
fn orders_for_the_open_and_the_close_trade_there_or_not_at_all() {
    use tradeflow_model::market::SeriesKind::{SessionCloses, SessionOpens};
    let setup = Setup::stock(&[SessionOpens, bars_of("1m"), SessionCloses]).margin(2);
    let on_open =
        |request| tradeflow_actors::execution::OrderRequest { execution: Execution::OnOpen, ..request };
    let on_close =
        |request| tradeflow_actors::execution::OrderRequest { execution: Execution::OnClose, ..request };
    let ran = setup.run(
        vec![
            send("09:01", on_open(market(Side::Buy, 10))),
            send("09:01", on_open(limit(Side::Buy, 5, "99"))),
            send("15:59", on_close(market(Side::Sell, 10))),
        ],
        "bar 09:00 100 101 99 100
         bar 09:01 100 101 90 100
         open 09:30
         bar 09:30 102 103 98 101
         bar 15:58 100 101 99 100
         bar 15:59 100 101 99 100.50
         close 16:00
         bar 16:00 100 101 99 100",
    );
    // The limit of 99 does not take at the open of 102, so it ends there, though the bar then goes to 98.
    assert_eq!(ran.fills(), ["09:30:00 buy 10 @ 102.00", "16:00:00 sell 10 @ 100.50"]);
    assert_eq!(ran.orders(), ["market filled 10/10", "limit expired 0/5", "market filled 10/10"]);
}

/// The bar of 09:29 is known at 09:30, after the session's open, but it began before it.
#[test]
fn the_open_is_that_of_the_first_bar_that_begins_with_the_session() {
    use tradeflow_model::market::SeriesKind::SessionOpens;
    let setup = Setup::stock(&[SessionOpens, bars_of("1m")]).margin(2);
    let order =
        tradeflow_actors::execution::OrderRequest { execution: Execution::OnOpen, ..market(Side::Buy, 10) };
    let ran = setup.run(
        vec![send_by_timer("09:29:30", order)],
        "bar 09:28 100 101 99 100
         open 09:30
         bar 09:29 90 101 89 100
         bar 09:30 102 103 98 101",
    );
    assert_eq!(ran.fills(), ["09:30:00 buy 10 @ 102.00"]);
}

/// Sent with the session's last bar: no price came after it, so it waits for the next session's close.
#[test]
fn an_order_for_the_close_needs_a_price_after_it() {
    use tradeflow_model::market::SeriesKind::SessionCloses;
    let setup = Setup::stock(&[bars_of("1m"), SessionCloses]).margin(2);
    let order =
        tradeflow_actors::execution::OrderRequest { execution: Execution::OnClose, ..market(Side::Buy, 10) };
    let ran = setup.run(
        vec![send("12:00", order)],
        "bar 11:59 100 101 99 100
         close 12:00
         bar 13:00 100 101 99 103
         close 13:01",
    );
    assert_eq!(ran.fills(), ["13:01:00 buy 10 @ 103.00"]);
}

#[test]
fn immediate_orders_take_what_there_is_and_end() {
    let capped = bars().venue(|venue| venue.volume_share_max = Some("0.1".parse().unwrap()));
    let with =
        |time_in_force, request| tradeflow_actors::execution::OrderRequest { time_in_force, ..request };
    let ran = capped.run(
        vec![
            send("10:01", with(TimeInForce::Ioc, market(Side::Buy, 12))),
            send("10:02", with(TimeInForce::Fok, market(Side::Buy, 12))),
            send("10:03", with(TimeInForce::Fok, market(Side::Buy, 5))),
            send("10:04", with(TimeInForce::Ioc, limit(Side::Buy, 5, "90"))),
        ],
        "bar 10:00 100 101 99 100 50
         bar 10:01 100 101 99 100 50
         bar 10:02 100 101 99 100 50
         bar 10:03 100 101 99 100 50
         bar 10:04 100 101 80 100 50",
    );
    assert_eq!(ran.fills(), ["10:01:00 buy 5 @ 100.00", "10:03:00 buy 5 @ 100.00"]);
    assert_eq!(
        ran.orders(),
        [
            "market cancelled 5/12: the rest did not trade at once",
            "market cancelled 0/12: the rest did not trade at once",
            "market filled 5/5",
            "limit cancelled 0/5: the rest did not trade at once",
        ]
    );
}

#[test]
fn orders_end_with_the_day_or_their_date() {
    use tradeflow_model::market::SeriesKind::SessionCloses;
    let setup = Setup::stock(&[bars_of("1m"), SessionCloses]).margin(2);
    let with =
        |time_in_force, request| tradeflow_actors::execution::OrderRequest { time_in_force, ..request };
    let ran = setup.run(
        vec![
            send("10:01", with(TimeInForce::Day, limit(Side::Buy, 1, "90"))),
            send("10:01", with(TimeInForce::Gtd(at("10:02:30")), limit(Side::Buy, 2, "90"))),
            send("10:01", with(TimeInForce::Gtc, limit(Side::Buy, 3, "90"))),
            // Its date passes before the market opens again: it must not fill at that open.
            send("16:00", with(TimeInForce::Gtd(at("17:00")), market(Side::Buy, 4))),
            // Sent when the day is over: for the next one.
            send("16:00", with(TimeInForce::Day, limit(Side::Buy, 5, "90"))),
        ],
        "bar 10:00 100 101 99 100
         bar 10:01 100 101 99 100
         bar 10:02 100 101 80 100
         bar 15:59 100 101 95 100
         close 16:00
         bar 18:00 100 101 95 100
         bar 18:01 100 101 80 100",
    );
    assert_eq!(ran.fills(), ["10:03:00 buy 1 @ 90.00", "10:03:00 buy 3 @ 90.00", "18:02:00 buy 5 @ 90.00"]);
    assert_eq!(
        ran.orders(),
        [
            "limit expired 0/2",
            "limit filled 1/1",
            "limit filled 3/3",
            "market expired 0/4",
            "limit filled 5/5"
        ]
    );
    let ran = setup.run(
        vec![send("10:01", with(TimeInForce::Day, limit(Side::Buy, 1, "90")))],
        "bar 10:00 100 101 99 100
         bar 10:01 100 101 99 100
         close 10:02
         bar 10:02 100 101 80 100",
    );
    assert_eq!(ran.orders(), ["limit expired 0/1"]);
}

/// The last price is 100: a bid of 100 would take, one of 99 would not.
#[test]
fn a_post_only_order_that_would_take_is_rejected() {
    let post = |request| tradeflow_actors::execution::OrderRequest { post_only: true, ..request };
    let ran = bars().run(
        vec![
            send("10:01", post(limit(Side::Buy, 10, "100"))),
            send("10:01", post(limit(Side::Buy, 10, "99"))),
            send("10:01", post(market(Side::Buy, 10))),
        ],
        "bar 10:00 100 101 99 100
         bar 10:01 100 101 98 100",
    );
    assert_eq!(ran.fills(), ["10:02:00 buy 10 @ 99.00"]);
    assert_eq!(ran.counters.rejected, 2);
}

#[test]
fn exits_of_a_rejected_entry_end_with_it() {
    let post = |request| tradeflow_actors::execution::OrderRequest { post_only: true, ..request };
    let entry = post(limit(Side::Buy, 10, "100")).with_bracket(Some(price("98")), Some(price("105")));
    let ran = bars().run(
        vec![send("10:01", entry)],
        "bar 10:00 100 101 99 100
         bar 10:01 100 110 90 100",
    );
    assert_eq!(ran.fills().len(), 0);
    assert_eq!(
        ran.orders(),
        [
            "limit rejected 0/10: post-only, and it would have taken liquidity",
            "stop cancelled 0/10: the order it hung on ended",
            "limit cancelled 0/10: the order it hung on ended",
        ]
    );
}

/// A venue that is away for a share of the orders says so for about so many; what depends on a refused entry ends with
/// it, and the same run refuses the same orders.
#[test]
fn a_venue_that_is_away_refuses_its_share_of_orders() {
    let run = |share: Option<&str>| {
        let orders = (0..400).map(|_| send("10:01", limit(Side::Buy, 1, "50"))).collect();
        let setup = bars().venue(|venue| venue.refused_share = share.map(|share| share.parse().unwrap()));
        let ran = setup.run(orders, "bar 10:00 100 101 99 100");
        ran.orders().iter().map(|order| order.contains("rejected")).collect::<Vec<_>>()
    };
    let refused = |orders: &[bool]| orders.iter().filter(|rejected| **rejected).count();
    assert_eq!(refused(&run(None)), 0);
    assert_eq!(refused(&run(Some("1"))), 400);
    let quarter = run(Some("0.25"));
    assert_eq!(quarter, run(Some("0.25")));
    // Binomial: 100 expected, standard deviation 8.7; drawn from a digest, so always the same.
    assert!((70..=130).contains(&refused(&quarter)), "{}", refused(&quarter));

    let entry = market(Side::Buy, 10).with_bracket(Some(price("98")), Some(price("102")));
    let ran = bars()
        .venue(|venue| venue.refused_share = Some(1.into()))
        .run(vec![send("10:01", entry)], "bar 10:00 100 101 99 100\n bar 10:01 100 101 99 100");
    assert!(ran.fills().is_empty());
    let orders = ran.orders();
    assert!(orders.len() == 3 && orders.iter().all(|order| order.contains("rejected")), "{orders:?}");
}
