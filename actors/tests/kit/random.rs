//! A strategy that does anything at any time, and markets of any shape, both from a seed.

use serde::{Deserialize, Serialize};
use tradeflow_actors::actor::Fault;
use tradeflow_actors::execution::OrderRequest;
use tradeflow_actors::strategy::{Context, Strategy};
use tradeflow_model::market::{Aggressor, SeriesKind, SessionPhase};
use tradeflow_model::order::{Execution, TrailOffset};
use tradeflow_model::plan::{LimitFill, Slippage};
use tradeflow_model::{
    Bar, InstrumentId, MarketEvent, Order, OrderEvent, OrderKind, Price, Qty, Quote, SeriesId, SessionEvent,
    Side, SignalSide, TimeInForce, Timestamp, Trade,
};

use super::{Dice, Setup, at, bars_of, future, stock};

/// Orders, signals, changes, cancels and timers at random.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RandomTrader {
    pub dice: Dice,
    pub instruments: u32,
    /// Once in so many events.
    pub seldom: u64,
}

impl RandomTrader {
    fn price_near(&mut self, context: &Context<'_>, instrument: InstrumentId) -> Option<Price> {
        let last = context.last_price(instrument)?;
        Some(Price::from_raw((last.raw() + self.dice.between(-300, 300)).max(1)))
    }

    fn order(&mut self, context: &Context<'_>, instrument: InstrumentId) -> Option<OrderRequest> {
        let side = if self.dice.once_in(2) { Side::Buy } else { Side::Sell };
        let qty = Qty::from_raw(self.dice.between(1, 60));
        let mut order = OrderRequest::market(instrument, side, qty);
        order.kind = match self.dice.below(8) {
            0..=2 => OrderKind::Market,
            3 | 4 => OrderKind::Limit { price: self.price_near(context, instrument)? },
            5 => OrderKind::Stop { trigger: self.price_near(context, instrument)? },
            6 => OrderKind::StopLimit {
                trigger: self.price_near(context, instrument)?,
                price: self.price_near(context, instrument)?,
            },
            _ => {
                let offset = if self.dice.once_in(2) {
                    TrailOffset::Price(Price::from_raw(self.dice.between(1, 200)))
                } else {
                    TrailOffset::Bps(self.dice.between(1, 300) as u32)
                };
                OrderKind::TrailingStop { offset, trigger: None }
            }
        };
        order.time_in_force = match self.dice.below(12) {
            0 => TimeInForce::Ioc,
            1 => TimeInForce::Fok,
            2 => TimeInForce::Day,
            3 => TimeInForce::Gtd(context.now().saturating_add(self.dice.between(1, 300) * 1_000_000_000)),
            _ => TimeInForce::Gtc,
        };
        order.execution = match self.dice.below(12) {
            0 => Execution::OnOpen,
            1 => Execution::OnClose,
            _ => Execution::Continuous,
        };
        order.reduce_only = self.dice.once_in(6);
        order.post_only = self.dice.once_in(8);
        if self.dice.once_in(3) {
            order.stop_loss = self.price_near(context, instrument);
        }
        if self.dice.once_in(3) {
            order.take_profit = self.price_near(context, instrument);
        }
        Some(order)
    }

    fn act(&mut self, context: &mut Context<'_>) {
        if !self.dice.once_in(self.seldom) {
            return;
        }
        let instrument = InstrumentId(self.dice.below(u64::from(self.instruments)) as u32);
        let open: Vec<Order> = context.open_orders(instrument).cloned().collect();
        let pick = |dice: &mut Dice| open.get(dice.below(open.len().max(1) as u64) as usize).cloned();
        match self.dice.below(10) {
            0..=3 if open.len() < 20 => {
                if let Some(order) = self.order(context, instrument) {
                    context.submit(order);
                }
            }
            4 | 5 => {
                let side =
                    [SignalSide::Buy, SignalSide::Sell, SignalSide::Close][self.dice.below(3) as usize];
                let exits = self.dice.once_in(2);
                let stop = self.price_near(context, instrument).filter(|_| exits);
                let target = self.price_near(context, instrument).filter(|_| exits);
                context.signal_with_exits(instrument, side, stop, target);
            }
            6 => {
                if let Some(order) = pick(&mut self.dice) {
                    context.cancel(order.id);
                }
            }
            7 | 8 => {
                if let Some(order) = pick(&mut self.dice) {
                    let qty = Qty::from_raw(self.dice.between(0, 60));
                    let price = order.kind.limit_price().and_then(|_| self.price_near(context, instrument));
                    let trigger = order.kind.trigger().and_then(|_| self.price_near(context, instrument));
                    context.modify(order.id, qty, price, trigger);
                }
            }
            _ => {
                let later = self.dice.between(-10, 200) * 1_000_000_000;
                context.set_timer(context.now().saturating_add(later), self.dice.below(9) as u32);
            }
        }
    }
}

impl Strategy for RandomTrader {
    fn on_bar(&mut self, context: &mut Context<'_>, _bar: &Bar) {
        self.act(context);
    }

    fn on_trade(&mut self, context: &mut Context<'_>, _trade: &Trade) {
        self.act(context);
    }

    fn on_quote(&mut self, context: &mut Context<'_>, _quote: &Quote) {
        self.act(context);
    }

    fn on_session(&mut self, context: &mut Context<'_>, _session: &SessionEvent) {
        self.act(context);
    }

    fn on_timer(&mut self, context: &mut Context<'_>, _timer: u32) {
        self.act(context);
    }

    fn on_order_event(&mut self, context: &mut Context<'_>, _event: &OrderEvent, _order: &Order) {
        // Seldom, lest each order lead to more than one other for ever.
        if self.dice.once_in(4) {
            self.act(context);
        }
    }

    fn snapshot(&self) -> Result<Vec<u8>, Fault> {
        Ok(postcard::to_allocvec(self)?)
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), Fault> {
        *self = postcard::from_bytes(snapshot)?;
        Ok(())
    }
}

/// Two instruments: a share with quotes, trades or only bars, and a future with bars of two lengths; sessions.
pub fn random_setup(dice: &mut Dice, margin: bool) -> Setup {
    let mut series = vec![
        (0, SeriesKind::SessionOpens),
        (0, bars_of("1m")),
        (0, SeriesKind::SessionCloses),
        (1, bars_of("1m")),
        (1, bars_of("5m")),
    ];
    match dice.below(3) {
        0 => series.push((0, SeriesKind::Quotes)),
        1 => series.push((0, SeriesKind::Trades)),
        _ => {}
    }
    let mut setup = Setup::new(vec![stock("STK"), future("FUT")], &series).cash(300_000);
    if margin {
        setup = setup.margin(dice.between(1, 5));
    }
    let fees = ["0", "2.5", "10", "-1"];
    let mut pick = |from: &[&str]| from[dice.below(from.len() as u64) as usize].to_owned();
    let (taker, maker) = (pick(&fees[..3]), pick(&fees));
    let (per_unit, minimum) = (pick(&["0", "0.005"]), pick(&["0", "1.25"]));
    setup = setup.fees(&taker, &maker, &per_unit, &minimum);
    let slippage = match dice.below(3) {
        0 => Slippage::Bps("3".parse().unwrap()),
        1 => Slippage::Spread("0.04".parse().unwrap()),
        _ => Slippage::None,
    };
    let (capped, touch) = (dice.once_in(2), dice.once_in(2));
    setup.venue(|venue| {
        venue.slippage = slippage;
        venue.volume_share_max = capped.then(|| "0.1".parse().unwrap());
        venue.limit_fill = if touch { LimitFill::Touch } else { LimitFill::Through };
    })
}

/// Events of all series of a plan, in the order of the plan: a minute at a time, with gaps in time and price.
pub fn random_market(setup: &Setup, dice: &mut Dice, minutes: usize) -> Vec<MarketEvent> {
    let second = 1_000_000_000;
    let mut events = Vec::new();
    let mut prices = [10_000_i64, 5_000];
    let mut start = at("09:00");
    let mut fives: Option<Bar> = None;
    for minute in 0..minutes {
        if dice.once_in(15) {
            start = start.saturating_add(dice.between(1, 30) * 60 * second);
        }
        let close_time = start.saturating_add(60 * second);
        for (index, plan) in setup.plan.series.iter().enumerate() {
            let (series, instrument) = (SeriesId(index as u16), plan.instrument);
            let price = prices[instrument.index()];
            match plan.kind {
                SeriesKind::SessionOpens | SeriesKind::SessionCloses => {
                    let opens = plan.kind == SeriesKind::SessionOpens;
                    if minute % 20 == if opens { 0 } else { 19 } {
                        let phase = if opens { SessionPhase::Open } else { SessionPhase::Close };
                        let ts_event = if opens { start } else { close_time };
                        let session = SessionEvent { series, instrument, ts_event, ts_init: ts_event, phase };
                        events.push(MarketEvent::Session(session));
                    }
                }
                SeriesKind::Quotes | SeriesKind::Trades => {
                    for _ in 0..dice.below(4) {
                        let ts_event = start.saturating_add(dice.between(0, 60) * second);
                        let late = if dice.once_in(10) { 100 * second } else { 0 };
                        let ts_init = ts_event.saturating_add(late);
                        let near = price + dice.between(-150, 150);
                        events.push(if plan.kind == SeriesKind::Quotes {
                            let spread = dice.between(-1, 6); // crossed now and then
                            MarketEvent::Quote(Quote {
                                series,
                                instrument,
                                ts_event,
                                ts_init,
                                bid: Price::from_raw(near),
                                ask: Price::from_raw(near + spread),
                                bid_size: Qty::from_raw(dice.between(0, 40)),
                                ask_size: Qty::from_raw(dice.between(0, 40)),
                            })
                        } else {
                            MarketEvent::Trade(Trade {
                                series,
                                instrument,
                                ts_event,
                                ts_init,
                                price: Price::from_raw(near),
                                qty: Qty::from_raw(dice.between(1, 400)),
                                aggressor: Aggressor::Unknown,
                            })
                        });
                    }
                }
                SeriesKind::Bars { interval, .. } if interval.count() == 1 => {
                    let gap = if dice.once_in(8) { dice.between(-400, 400) } else { dice.between(-3, 3) };
                    let open = (price + gap).max(100);
                    let close = (open + dice.between(-150, 150)).max(100);
                    let bar = Bar {
                        series,
                        instrument,
                        ts_open: start,
                        ts_event: close_time,
                        ts_init: close_time,
                        open: Price::from_raw(open),
                        high: Price::from_raw(open.max(close) + dice.between(0, 120)),
                        low: Price::from_raw((open.min(close) - dice.between(0, 120)).max(1)),
                        close: Price::from_raw(close),
                        volume: Qty::from_raw(dice.between(0, 500)),
                    };
                    prices[instrument.index()] = close;
                    events.push(MarketEvent::Bar(bar));
                    if instrument.0 == 1 {
                        let first = fives.get_or_insert(bar);
                        first.high = first.high.max(bar.high);
                        first.low = first.low.min(bar.low);
                        first.close = bar.close;
                        first.ts_event = bar.ts_event;
                        first.ts_init = bar.ts_init;
                    }
                }
                SeriesKind::Bars { .. } => {
                    if minute % 5 == 4 {
                        events.extend(fives.take().map(|bar| MarketEvent::Bar(Bar { series, ..bar })));
                    }
                }
                SeriesKind::Actions => {}
            }
        }
        start = close_time;
    }
    events.sort_by_key(|event| (event.ts_event(), event.series()));
    events
}

/// Everything of a random run.
pub fn random_run(seed: u64, minutes: usize, margin: bool) -> (Setup, Vec<MarketEvent>, Vec<RandomTrader>) {
    let mut dice = Dice(seed);
    let setup = random_setup(&mut dice, margin);
    let events = random_market(&setup, &mut dice, minutes);
    let seldom = 1 + dice.below(4);
    let traders = (0..1 + dice.below(3))
        .map(|_| RandomTrader { dice: Dice(dice.roll()), instruments: 2, seldom })
        .collect();
    (setup, events, traders)
}

/// The cell of a random run.
pub fn cell_of(setup: &Setup, traders: &[RandomTrader]) -> tradeflow_actors::cell::PaperCell {
    let strategies = traders.iter().enumerate().map(|(index, trader)| {
        let plan = setup.strategy_plan(&format!("random-{index}"), 0);
        (plan, Box::new(trader.clone()) as Box<dyn Strategy>)
    });
    setup.build(strategies.collect())
}

/// The last instant of some events.
pub fn end_of(events: &[MarketEvent]) -> Timestamp {
    events.last().map_or(Timestamp::MIN, MarketEvent::ts_event)
}
