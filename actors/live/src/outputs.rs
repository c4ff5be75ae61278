//! What cells put on the bus: changes of orders, fills, points of the equity curve, and answers to commands. Decimals are text (`"101.25"`), times
//! nanoseconds since 1970-01-01 UTC.
//!
//! Each account numbers its orders' and fills' records (`seq`, over both topics together, from 1). A cell that was rebuilt goes on
//! with the next number; a replay makes the same records with the same numbers, by which they are compared.

use bytes::Bytes;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use tradeflow_actors::account::RoundTrip;
use tradeflow_actors::cell::{Answer, Preview};
use tradeflow_actors::output::{CellOutput, FillRecord, PositionRecord};
use tradeflow_actors::strategy::{DryRun, Intent};
use tradeflow_bus::record::encode;
use tradeflow_bus::{NewRecord, Topics, partition_of};
use tradeflow_model::order::{Execution, Liquidity};
use tradeflow_model::{
    AccountKind, InstrumentId, Money, Order, OrderEvent, OrderEventKind, OrderId, Price, Side, SignalSide,
    TimeInForce, Timestamp,
};

use crate::session::SessionPlan;

/// A change of an order (`orders.v1`, key: the account).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // named as everywhere
pub struct OrderMessage {
    pub v: u16,
    pub account: String,
    pub session: String,
    /// The number of this record among those of its account.
    pub seq: u64,
    /// The client order id: journal position × 4096 + number.
    pub order_id: u64,
    pub symbol: String,
    /// The strategy's id; none for an order by hand.
    pub strategy: Option<String>,
    pub side: String,
    /// `market`, `limit`, `stop`, …
    pub kind: String,
    pub qty: String,
    /// The limit price, where it has one.
    pub price: Option<String>,
    /// The trigger, where it has one.
    pub trigger: Option<String>,
    pub filled: String,
    /// What happened: `submitted`, `denied`, `accepted`, `filled`, …
    pub event: String,
    /// Why, where the event has a reason.
    pub reason: Option<String>,
    /// The order's status after it.
    pub status: String,
    pub ts_event: i64,
    /// `gtc`, `day`, `gtd`, `ioc` or `fok`. (It and what follows: since version 2.)
    #[serde(default)]
    pub time_in_force: String,
    /// With `gtd`: until when.
    #[serde(default)]
    pub expires: Option<i64>,
    /// `continuous`, `on-open` or `on-close`.
    #[serde(default)]
    pub execution: Execution,
    #[serde(default)]
    pub reduce_only: bool,
    #[serde(default)]
    pub post_only: bool,
    /// The order whose fill brings it to life.
    #[serde(default)]
    pub parent: Option<u64>,
    /// Of its fills so far.
    #[serde(default)]
    pub average_price: Option<String>,
    #[serde(default)]
    pub ts_submitted: i64,
}

/// A fill (`fills.v1`, key: the account).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct FillMessage {
    pub v: u16,
    pub account: String,
    pub session: String,
    pub seq: u64,
    pub order_id: u64,
    pub symbol: String,
    pub strategy: Option<String>,
    pub side: String,
    pub price: String,
    pub qty: String,
    pub fee: String,
    /// `maker` or `taker`.
    pub liquidity: String,
    /// The account's position in the instrument after it.
    pub position: String,
    /// The account's cash after it.
    pub cash: String,
    pub ts_event: i64,
    pub ts_init: i64,
    /// What that position cost. (It and what follows: since version 2.)
    #[serde(default)]
    pub cost: Option<String>,
    /// Profit of what was closed in the instrument so far, before fees.
    #[serde(default)]
    pub realized: Option<String>,
    /// Fees paid in the instrument so far.
    #[serde(default)]
    pub fees: Option<String>,
    /// The round trip that it ended.
    #[serde(default)]
    pub trade: Option<TradeMessage>,
}

/// A round trip: from flat to flat, of one strategy (or of orders by hand) in one instrument.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct TradeMessage {
    /// `long` or `short`.
    pub side: String,
    /// Quantity that entered, all entries added up.
    pub qty: String,
    pub entry_time: i64,
    pub exit_time: i64,
    /// Average price of the entries.
    pub entry_price: String,
    /// Average price of the exits.
    pub exit_price: String,
    /// Profit before fees and dividends.
    pub pnl: String,
    pub fees: String,
    pub dividends: String,
    /// Profit after fees, with dividends.
    pub pnl_net: String,
}

/// Points of an account's equity curve (`equity.v1`, key: the account): columns of one length.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct EquityMessage {
    pub v: u16,
    pub account: String,
    pub session: String,
    /// Times of the last changes before the ends of minutes.
    pub ts_event: Vec<i64>,
    pub cash: Vec<String>,
    pub equity: Vec<String>,
}

/// The answer to a command (`replies.v1`, key: the account).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// Version of this schema.
    pub v: u16,
    /// The account.
    pub account: String,
    /// The command's id, as its sender gave it.
    pub id: String,
    /// What became of it.
    pub answer: Answer,
    /// What was asked, of a question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<Box<Told>>,
    /// When.
    pub ts: Timestamp,
}

/// The answer to a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Told {
    /// What would come of an order.
    Preview(PreviewRecord),
    /// What a strategy decides.
    DryRun(DryRunRecord),
}

/// What a strategy decided over its past, as one that is flat.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DryRunRecord {
    /// Events that it saw.
    pub events: u64,
    /// The time of the first, in nanoseconds.
    pub from: Option<i64>,
    /// The time of the last.
    pub to: Option<i64>,
    /// Its decisions, the latest twenty, the latest last.
    pub decisions: Vec<DecisionRecord>,
}

/// What a strategy wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionRecord {
    /// When, in nanoseconds.
    pub ts: i64,
    /// Of a position: `buy`, `sell` or `close`. Of an order of its own: `buy-order` or `sell-order`. Of one that it had
    /// ordered: `modify` or `cancel`.
    pub wants: String,
    /// The instrument; none of what it had ordered.
    pub symbol: Option<String>,
    /// Of an order: its type and quantity.
    pub order: Option<String>,
    /// A protective stop.
    pub stop_loss: Option<String>,
    /// A profit target.
    pub take_profit: Option<String>,
}

/// What would come of an order if it were placed. Money is of the account's currency.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviewRecord {
    /// Why the risk gate would deny it, or one of its exits; none where all would pass.
    pub denied: Option<String>,
    /// `maker` or `taker`: as what it is expected to trade.
    pub liquidity: String,
    /// What it is reckoned at: its limit, else its trigger, else the last price; with slippage where it takes liquidity.
    /// None, as the costs that follow, before its instrument had any price.
    pub price: Option<String>,
    /// Its value at that price.
    pub value: Option<String>,
    /// The fee.
    pub fee: Option<String>,
    /// How much of its quantity the account can pay for.
    pub payable_qty: Option<String>,
    /// What the account is worth.
    pub equity: String,
    /// Value of its positions over equity that an order may reach.
    pub leverage: String,
    /// Value of its positions.
    pub exposure: String,
    /// Value of its positions with all of the order filled.
    pub exposure_after: Option<String>,
    /// Equity that its positions then take up: their value over the leverage.
    pub margin_after: Option<String>,
}

/// The version of these schemas that is written.
pub const VERSION: u16 = 2;

/// Makes records of what a cell put out.
pub(crate) struct Outputs<'a> {
    pub(crate) plan: &'a SessionPlan,
    pub(crate) cell: usize,
    pub(crate) topics: &'a Topics,
    pub(crate) partitions: u32,
}

impl Outputs<'_> {
    fn account(&self) -> &str {
        self.plan.run.cells[self.cell].account.id.as_str()
    }

    fn record(&self, topic: &tradeflow_bus::Topic, value: Vec<u8>, ts: Timestamp) -> NewRecord {
        let key = Bytes::copy_from_slice(self.account().as_bytes());
        NewRecord {
            topic: topic.clone(),
            partition: partition_of(&key, self.partitions),
            key,
            value: Some(value.into()),
            ts,
        }
    }

    /// The records of an output, numbered on from `seq`; `strategies` are the ids of the cell's strategies.
    pub(crate) fn records(
        &self,
        output: &CellOutput,
        strategies: &[String],
        seq: &mut u64,
    ) -> Vec<NewRecord> {
        let mut records = Vec::with_capacity(output.events.len() + output.fills.len());
        let mut fills = output.fills.iter();
        let (mut positions, mut trades) = (output.positions.iter(), output.trades.iter());
        for (event, order) in &output.events {
            *seq += 1;
            let message = self.order(event, order, strategies, *seq);
            records.push(self.record(&self.topics.orders, encode(&message), event.ts_event));
            if event.kind.fill().is_some()
                && let Some(fill) = fills.next()
            {
                *seq += 1;
                let mut message = self.fill(fill, strategies, *seq);
                // Corporate actions change positions too: the one that goes with a fill says what the fill says.
                let after = |at: &&PositionRecord| {
                    (at.instrument, at.qty, at.ts_event) == (fill.instrument, fill.position, fill.ts_event)
                };
                if let Some(position) = positions.by_ref().find(after) {
                    message.cost = Some(position.cost.to_string());
                    message.realized = Some(position.realized.to_string());
                    message.fees = Some(position.fees.to_string());
                }
                if fill.ends_trade {
                    message.trade = trades.next().and_then(|trip| self.trade(trip));
                }
                records.push(self.record(&self.topics.fills, encode(&message), event.ts_event));
            }
        }
        if let Some(last) = output.equity.ts_event.last() {
            let text = |raw: &[i128]| raw.iter().map(|raw| Money::from_raw(*raw).to_string()).collect();
            let message = EquityMessage {
                v: VERSION,
                account: self.account().to_owned(),
                session: self.plan.id.clone(),
                ts_event: output.equity.ts_event.clone(),
                cash: text(&output.equity.cash),
                equity: text(&output.equity.equity),
            };
            let ts = Timestamp::from_nanos(*last);
            records.push(self.record(&self.topics.equity, encode(&message), ts));
        }
        records
    }

    fn trade(&self, trip: &RoundTrip) -> Option<TradeMessage> {
        let definition = self.plan.run.instrument(trip.instrument);
        let price = |price: Option<Price>| Some(price?.to_decimal(definition.price_scale).to_string());
        let net = trip.profit(definition).ok()?;
        Some(TradeMessage {
            side: if trip.side == Side::Buy { "long" } else { "short" }.to_owned(),
            qty: trip.entry_qty.to_decimal(definition.size_scale).to_string(),
            entry_time: trip.entry_time.as_nanos(),
            exit_time: trip.exit_time?.as_nanos(),
            entry_price: price(trip.entry_price())?,
            exit_price: price(trip.exit_price())?,
            pnl: Money::from_raw(net.raw() + trip.fees.raw() - trip.flows.raw()).to_string(),
            fees: trip.fees.to_string(),
            dividends: trip.flows.to_string(),
            pnl_net: net.to_string(),
        })
    }

    fn order(&self, event: &OrderEvent, order: &Order, strategies: &[String], seq: u64) -> OrderMessage {
        let definition = self.plan.run.instrument(order.instrument);
        let (price_scale, size_scale) = (definition.price_scale, definition.size_scale);
        let price = |price: Option<Price>| price.map(|p| p.to_decimal(price_scale).to_string());
        let reason = match &event.kind {
            OrderEventKind::Denied(why) => Some(why.to_string()),
            OrderEventKind::Rejected(why) => Some(why.to_string()),
            OrderEventKind::Cancelled(why) => Some(why.to_string()),
            _ => None,
        };
        OrderMessage {
            v: VERSION,
            account: self.account().to_owned(),
            session: self.plan.id.clone(),
            seq,
            order_id: order.id.as_u64(),
            symbol: definition.symbol.to_string(),
            strategy: order.strategy.and_then(|s| strategies.get(s.index()).cloned()),
            side: order.side.name().to_owned(),
            kind: order.kind.name().to_owned(),
            qty: order.qty.to_decimal(size_scale).to_string(),
            price: price(order.kind.limit_price()),
            trigger: price(order.kind.trigger()),
            filled: order.filled.to_decimal(size_scale).to_string(),
            event: event.kind.name().to_owned(),
            reason,
            status: order.status.name().to_owned(),
            ts_event: event.ts_event.as_nanos(),
            time_in_force: order.time_in_force.name().to_owned(),
            expires: match order.time_in_force {
                TimeInForce::Gtd(until) => Some(until.as_nanos()),
                _ => None,
            },
            execution: order.execution,
            reduce_only: order.reduce_only,
            post_only: order.post_only,
            parent: order.parent.map(OrderId::as_u64),
            average_price: price(order.average_price()),
            ts_submitted: order.ts_submitted.as_nanos(),
        }
    }

    fn fill(&self, fill: &FillRecord, strategies: &[String], seq: u64) -> FillMessage {
        let definition = self.plan.run.instrument(fill.instrument);
        FillMessage {
            v: VERSION,
            account: self.account().to_owned(),
            session: self.plan.id.clone(),
            seq,
            order_id: fill.order.as_u64(),
            symbol: definition.symbol.to_string(),
            strategy: fill.strategy.and_then(|s| strategies.get(s.index()).cloned()),
            side: fill.side.name().to_owned(),
            price: fill.price.to_decimal(definition.price_scale).to_string(),
            qty: fill.qty.to_decimal(definition.size_scale).to_string(),
            fee: fill.fee.to_string(),
            liquidity: name(fill.liquidity).to_owned(),
            position: fill.position.to_decimal(definition.size_scale).to_string(),
            cash: fill.cash.to_string(),
            ts_event: fill.ts_event.as_nanos(),
            ts_init: fill.ts_init.as_nanos(),
            cost: None,
            realized: None,
            fees: None,
            trade: None,
        }
    }

    /// The answer to a question.
    pub(crate) fn preview(
        &self,
        id: &str,
        instrument: InstrumentId,
        preview: Preview,
        ts: Timestamp,
    ) -> NewRecord {
        let definition = self.plan.run.instrument(instrument);
        let Preview { denied, liquidity, cost, equity, exposure } = preview;
        let leverage = match self.plan.run.cells[self.cell].account.kind {
            AccountKind::Cash => Decimal::ONE,
            AccountKind::Margin { leverage } => leverage,
        };
        let margin =
            |value: Money| value.mul_ratio(10_i128.pow(leverage.scale()), leverage.mantissa().max(1));
        let record = PreviewRecord {
            denied: denied.map(|why| why.to_string()),
            liquidity: name(liquidity).to_owned(),
            price: cost.map(|cost| cost.price.to_decimal(definition.price_scale).to_string()),
            value: cost.map(|cost| cost.value.to_string()),
            fee: cost.map(|cost| cost.fee.to_string()),
            payable_qty: cost.map(|cost| cost.payable.to_decimal(definition.size_scale).to_string()),
            equity: equity.to_string(),
            leverage: leverage.to_string(),
            exposure: exposure.to_string(),
            exposure_after: cost.map(|cost| cost.exposure_after.to_string()),
            margin_after: cost.and_then(|cost| margin(cost.exposure_after)).map(|margin| margin.to_string()),
        };
        self.told(id, Told::Preview(record), ts)
    }

    /// The answer to the other question.
    pub(crate) fn dry_run(&self, id: &str, run: &DryRun, ts: Timestamp) -> NewRecord {
        let decisions = run.decisions.iter().map(|(at, intent)| self.decision(*at, intent)).collect();
        let record = DryRunRecord {
            events: run.events,
            from: run.span.map(|(first, _)| first.as_nanos()),
            to: run.span.map(|(_, last)| last.as_nanos()),
            decisions,
        };
        self.told(id, Told::DryRun(record), ts)
    }

    fn decision(&self, at: Timestamp, intent: &Intent) -> DecisionRecord {
        let bare = |wants: &str| DecisionRecord {
            ts: at.as_nanos(),
            wants: wants.to_owned(),
            ..DecisionRecord::default()
        };
        let of = |instrument: InstrumentId, wants: String, exits: [Option<Price>; 2]| {
            let definition = self.plan.run.instrument(instrument);
            let text = |price: Option<Price>| Some(price?.to_decimal(definition.price_scale).to_string());
            DecisionRecord {
                symbol: Some(definition.symbol.to_string()),
                stop_loss: text(exits[0]),
                take_profit: text(exits[1]),
                ..bare(&wants)
            }
        };
        match intent {
            Intent::Signal { instrument, side, stop_loss, take_profit } => {
                let side = match side {
                    SignalSide::Buy => "buy",
                    SignalSide::Sell => "sell",
                    SignalSide::Close => "close",
                };
                of(*instrument, side.to_owned(), [*stop_loss, *take_profit])
            }
            Intent::Order { request, .. } => {
                let exits = [request.stop_loss, request.take_profit];
                let definition = self.plan.run.instrument(request.instrument);
                let qty = request.qty.to_decimal(definition.size_scale);
                DecisionRecord {
                    order: Some(format!("{} of {qty}", request.kind.name())),
                    ..of(request.instrument, format!("{}-order", request.side.name()), exits)
                }
            }
            Intent::Modify { .. } => bare("modify"),
            Intent::Cancel(_) => bare("cancel"),
            Intent::Timer { .. } => bare("timer"),
        }
    }

    fn told(&self, id: &str, told: Told, ts: Timestamp) -> NewRecord {
        let answer = self.answer(id, &Answer::Done { orders: Vec::new() }, ts);
        let reply = Reply { told: Some(Box::new(told)), ..answer };
        self.record(&self.topics.replies, encode(&reply), ts)
    }

    fn answer(&self, id: &str, answer: &Answer, ts: Timestamp) -> Reply {
        Reply {
            v: VERSION,
            account: self.account().to_owned(),
            id: id.to_owned(),
            answer: answer.clone(),
            told: None,
            ts,
        }
    }

    /// The record of an answer.
    pub(crate) fn reply(&self, id: &str, answer: &Answer, ts: Timestamp) -> NewRecord {
        self.record(&self.topics.replies, encode(&self.answer(id, answer, ts)), ts)
    }
}

fn name(liquidity: Liquidity) -> &'static str {
    match liquidity {
        Liquidity::Maker => "maker",
        Liquidity::Taker => "taker",
    }
}
