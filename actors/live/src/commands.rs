//! Commands as they stand on the bus (`commands.v1`, key: the account): symbols and decimals, as people and programs
//! write them. What does not fit the session is refused with a reason before it reaches a cell.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tradeflow_actors::cell::{Answer, Command, Refusal};
use tradeflow_actors::execution::OrderRequest;
use tradeflow_actors::strategy::kind_of;
use tradeflow_bus::record::{RecordError, decode, encode};
use tradeflow_model::market::{PriceType, SeriesKind};
use tradeflow_model::order::{Execution, TrailOffset};
use tradeflow_model::plan::{RiskLimits, StrategyPlan};
use tradeflow_model::signal::Size;
use tradeflow_model::{
    Instrument, InstrumentId, OrderId, OrderKind, Price, Side, Signal, SignalSide, SignalSource, TimeInForce,
    Timestamp,
};

use crate::session::SessionPlan;

/// A command on the bus.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CommandMessage {
    /// Version of this schema.
    pub v: u16,
    /// Its sender's id, unique: a command with an id that was there before is refused as a duplicate.
    pub id: String,
    /// The account.
    pub account: String,
    /// When it was sent.
    pub ts: Timestamp,
    /// What is wanted.
    pub command: WireCommand,
}

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WireCommand {
    /// A new order.
    Submit(WireOrder),
    /// Change an order.
    Modify {
        /// Its id.
        order_id: u64,
        /// Its instrument.
        symbol: String,
        /// The new quantity.
        qty: Decimal,
        /// The new limit price.
        #[serde(default)]
        price: Option<Decimal>,
        /// The new trigger.
        #[serde(default)]
        trigger: Option<Decimal>,
    },
    /// A signal.
    Signal(WireSignal),
    /// Cancel an order.
    Cancel {
        /// Its id.
        order_id: u64,
    },
    /// What a new order would cost, and whether it would pass; nothing is placed. It is a question: it does not go through
    /// the journal.
    Preview(WireOrder),
    /// What a strategy decides over its latest past, as one that is flat; nothing is done. A question, too.
    DryRun(WireStrategy),
    /// What the account holds and which orders stand, as its venue has it. A question, too.
    Report,
    /// Cancel all orders.
    CancelAll,
    /// Close the position in an instrument.
    Close {
        /// The instrument.
        symbol: String,
    },
    /// Cancel all orders and close all positions.
    Flatten,
    /// Only orders that reduce from now on.
    Pause,
    /// Trade again.
    Resume,
    /// Cancel all, close all, only orders that reduce until someone resumes.
    Kill,
    /// Other limits of the risk gate.
    Limit(RiskLimits),
    /// Start a strategy, or the one with the same id anew with other parameters.
    Start(WireStrategy),
    /// Stop a strategy.
    Stop {
        /// Its id.
        id: String,
        /// Whether its positions are closed.
        #[serde(default)]
        close: bool,
    },
}

/// An order by hand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WireOrder {
    /// The instrument.
    pub symbol: String,
    /// Buy or sell.
    pub side: Side,
    /// The quantity.
    pub qty: Decimal,
    /// `limit`: the price. Without price and trigger it is a market order.
    #[serde(default)]
    pub price: Option<Decimal>,
    /// `stop`: the trigger; with a price, too, a stop-limit order.
    #[serde(default)]
    pub trigger: Option<Decimal>,
    /// `trailing-stop`: the distance of its trigger from the best price, in price.
    #[serde(default)]
    pub trail_price: Option<Decimal>,
    /// `trailing-stop`: the distance in basis points of the best price.
    #[serde(default)]
    pub trail_bps: Option<u32>,
    /// How long it stands; until cancelled when not given.
    #[serde(default)]
    pub time_in_force: Option<TimeInForce>,
    /// Where in the session; in continuous trading when not given.
    #[serde(default)]
    pub execution: Option<Execution>,
    /// It may only reduce.
    #[serde(default)]
    pub reduce_only: bool,
    /// It may not take liquidity.
    #[serde(default)]
    pub post_only: bool,
    /// A protective stop for what it opens.
    #[serde(default)]
    pub stop_loss: Option<Decimal>,
    /// A profit target for what it opens.
    #[serde(default)]
    pub take_profit: Option<Decimal>,
}

/// A signal from outside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WireSignal {
    /// Its id, unique within its source.
    pub id: String,
    /// Where it comes from.
    pub source: SignalSource,
    /// The strategy's id, as its sender calls it; empty for none.
    pub strategy_id: String,
    /// The strategy's version.
    #[serde(default)]
    pub strategy_version: String,
    /// The strategy's name.
    #[serde(default)]
    pub strategy_name: String,
    /// The instrument.
    pub symbol: String,
    /// What it wants.
    pub side: SignalSide,
    /// How large; the strategy's own where it does not say.
    #[serde(default)]
    pub size: Option<Size>,
    /// The price at which its sender saw it.
    #[serde(default)]
    pub price: Option<Decimal>,
    /// A limit for the entry.
    #[serde(default)]
    pub limit_price: Option<Decimal>,
    /// A protective stop.
    #[serde(default)]
    pub stop_loss: Option<Decimal>,
    /// A profit target.
    #[serde(default)]
    pub take_profit: Option<Decimal>,
    /// After this it must not be acted on.
    #[serde(default)]
    pub expires: Option<Timestamp>,
    /// When the decision was made.
    pub ts_event: Timestamp,
}

/// A strategy to be started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WireStrategy {
    /// Its id within the account.
    pub id: String,
    /// Its kind (`sma_cross`).
    pub kind: String,
    /// Its parameters.
    #[serde(default)]
    pub params: Map<String, Value>,
    /// Its instruments.
    pub symbols: Vec<String>,
    /// Its data where its declaration does not say: an interval of bars (`1m`), `trades` or `quotes`.
    pub data: String,
    /// Size of its positions.
    pub size: Size,
}

impl CommandMessage {
    /// The version that is written.
    pub const VERSION: u16 = 1;

    /// From its bytes.
    ///
    /// # Errors
    /// When they are no such record.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        decode("commands", bytes)
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }
}

type Refused = Box<Answer>;

fn refuse(code: Refusal, why: impl Into<String>) -> Refused {
    Box::new(Answer::refused(code, why))
}

impl WireCommand {
    /// The command for a cell of a session.
    ///
    /// # Errors
    /// The refusal, when a field does not fit.
    pub fn resolve(&self, plan: &SessionPlan, cell: usize) -> Result<Command, Refused> {
        let instrument = |symbol: &str| {
            let id = plan.instrument(symbol).filter(|id| plan.accounts[cell].instruments.contains(id));
            id.ok_or_else(|| {
                let account = &plan.run.cells[cell].account.id;
                refuse(Refusal::UnknownInstrument, format!("account {account} does not follow {symbol:?}"))
            })
        };
        let order = |raw: u64| {
            OrderId::derive(raw >> 12, raw & (OrderId::PER_INPUT_MAX - 1))
                .ok_or_else(|| refuse(Refusal::UnknownOrder, format!("{raw} is no order id")))
        };
        Ok(match self {
            Self::Submit(wire) => {
                let id = instrument(&wire.symbol)?;
                Command::Submit(wire.request(id, plan.run.instrument(id))?)
            }
            Self::Preview(_) | Self::DryRun(_) | Self::Report => {
                return Err(refuse(Refusal::Invalid, "a question is no command"));
            }
            Self::Modify { order_id, symbol, qty, price, trigger } => {
                let definition = plan.run.instrument(instrument(symbol)?);
                let invalid =
                    |error: tradeflow_model::ValueError| refuse(Refusal::Invalid, error.to_string());
                let price_of = |field: &str, value: Option<Decimal>| {
                    value.map(|value| definition.order_price(field, value)).transpose().map_err(invalid)
                };
                Command::Modify {
                    order: order(*order_id)?,
                    qty: definition.order_qty("quantity", *qty).map_err(invalid)?,
                    price: price_of("limit price", *price)?,
                    trigger: price_of("trigger", *trigger)?,
                }
            }
            Self::Signal(wire) => Command::Signal(Box::new(wire.signal(instrument(&wire.symbol)?))),
            Self::Cancel { order_id } => Command::Cancel { order: order(*order_id)? },
            Self::CancelAll => Command::CancelAll,
            Self::Close { symbol } => Command::Close { instrument: instrument(symbol)? },
            Self::Flatten => Command::Flatten,
            Self::Pause => Command::Pause,
            Self::Resume => Command::Resume,
            Self::Kill => Command::Kill,
            Self::Limit(limits) => Command::Limit(*limits),
            Self::Start(wire) => {
                let instruments =
                    wire.symbols.iter().map(|symbol| instrument(symbol)).collect::<Result<Vec<_>, _>>()?;
                Command::Start(Box::new(wire.plan(plan, &instruments)?))
            }
            Self::Stop { id, close } => Command::Stop { id: id.clone(), close: *close },
        })
    }
}

impl WireOrder {
    pub(crate) fn request(&self, id: InstrumentId, definition: &Instrument) -> Result<OrderRequest, Refused> {
        let price = |field: &str, value: Option<Decimal>| -> Result<Option<Price>, Refused> {
            let checked = value.map(|value| definition.order_price(field, value)).transpose();
            checked.map_err(|error| refuse(Refusal::Invalid, error.to_string()))
        };
        let qty = definition
            .order_qty("quantity", self.qty)
            .map_err(|error| refuse(Refusal::Invalid, error.to_string()))?;
        let (limit, trigger) = (price("limit price", self.price)?, price("trigger", self.trigger)?);
        let offset = match (price("trail", self.trail_price)?, self.trail_bps) {
            (None, None) => None,
            (Some(distance), None) => Some(TrailOffset::Price(distance)),
            (None, Some(bps)) => Some(TrailOffset::Bps(bps)),
            (Some(_), Some(_)) => {
                return Err(refuse(
                    Refusal::Invalid,
                    "a trailing stop has one distance: in price or in basis points",
                ));
            }
        };
        let kind = match (limit, trigger, offset) {
            (None, None, None) => OrderKind::Market,
            (Some(price), None, None) => OrderKind::Limit { price },
            (None, Some(trigger), None) => OrderKind::Stop { trigger },
            (Some(price), Some(trigger), None) => OrderKind::StopLimit { trigger, price },
            (None, None, Some(offset)) => OrderKind::TrailingStop { offset, trigger: None },
            (_, _, Some(_)) => {
                return Err(refuse(
                    Refusal::Invalid,
                    "a trailing stop has neither a price nor a trigger of its own",
                ));
            }
        };
        Ok(OrderRequest {
            instrument: id,
            side: self.side,
            kind,
            execution: self.execution.unwrap_or_default(),
            time_in_force: self.time_in_force.unwrap_or(TimeInForce::Gtc),
            qty,
            reduce_only: self.reduce_only,
            post_only: self.post_only,
            stop_loss: price("stop loss", self.stop_loss)?,
            take_profit: price("take profit", self.take_profit)?,
        })
    }
}

impl WireSignal {
    fn signal(&self, instrument: InstrumentId) -> Signal {
        Signal {
            id: self.id.clone(),
            source: self.source,
            strategy: None,
            strategy_id: self.strategy_id.clone(),
            strategy_version: self.strategy_version.clone(),
            strategy_name: self.strategy_name.clone(),
            instrument,
            side: self.side,
            size: self.size,
            price: self.price,
            limit_price: self.limit_price,
            stop_loss: self.stop_loss,
            take_profit: self.take_profit,
            expires: self.expires,
            ts_event: self.ts_event,
        }
    }
}

impl WireStrategy {
    /// The plan of the strategy in a session: parameters checked, series found.
    ///
    /// # Errors
    /// The refusal, when something does not fit.
    pub fn plan(
        &self,
        session: &SessionPlan,
        instruments: &[InstrumentId],
    ) -> Result<StrategyPlan, Box<Answer>> {
        let invalid = |why: String| refuse(Refusal::Invalid, format!("strategy {}: {why}", self.id));
        let kind = kind_of(&self.kind).map_err(invalid)?;
        let params = kind.resolve(&self.params).map_err(|errors| {
            let texts: Vec<_> = errors.iter().map(|e| format!("{}: {}", e.param, e.why)).collect();
            invalid(texts.join("; "))
        })?;
        let needs = kind.needs(&params).map_err(invalid)?;
        let main = match self.data.as_str() {
            "trades" => SeriesKind::Trades,
            "quotes" => SeriesKind::Quotes,
            interval => SeriesKind::Bars {
                interval: interval
                    .parse()
                    .map_err(|error: tradeflow_model::ValueError| invalid(error.to_string()))?,
                price_type: Default::default(),
            },
        };
        let mut series = Vec::new();
        for need in &needs.series {
            let instrument = instruments.get(need.instrument).ok_or_else(|| {
                invalid(format!("it needs {} symbols, not {}", need.instrument + 1, instruments.len()))
            })?;
            let wanted = match (need.interval, main) {
                (None, main) => main,
                (Some(interval), SeriesKind::Bars { price_type, .. }) => {
                    SeriesKind::Bars { interval, price_type }
                }
                (Some(interval), _) => SeriesKind::Bars { interval, price_type: Default::default() },
            };
            let found = session.series_of(*instrument, wanted).or_else(|| match wanted {
                // Where quotes are all that is followed, bars are of the middle between bid and ask.
                SeriesKind::Bars { interval, .. } => {
                    session.series_of(*instrument, SeriesKind::Bars { interval, price_type: PriceType::Mid })
                }
                _ => None,
            });
            series.push(found.ok_or_else(|| {
                let symbol = session.symbol(*instrument);
                invalid(format!("this session has no {wanted:?} of {symbol}: add it to the configuration"))
            })?);
        }
        Ok(StrategyPlan {
            id: self.id.clone(),
            kind: kind.name.to_owned(),
            version: kind.version.to_owned(),
            params,
            series,
            size: self.size,
            warm_up_bars: needs.warm_up,
        })
    }
}
