//! What cells put on the bus: changes of orders, fills, points of the equity curve, and answers to commands. Decimals are text (`"101.25"`), times
//! nanoseconds since 1970-01-01 UTC.
//!
//! Each account numbers its orders' and fills' records (`seq`, over both topics together, from 1). A cell that was rebuilt goes on
//! with the next number; a replay makes the same records with the same numbers, by which they are compared.

mod questions;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tradeflow_actors::account::RoundTrip;
use tradeflow_actors::cell::Answer;
use tradeflow_actors::output::{CellOutput, FillRecord, PositionRecord};
use tradeflow_bus::record::encode;
use tradeflow_bus::{NewRecord, Topics, partition_of};
use tradeflow_model::order::{Execution, Liquidity};
use tradeflow_model::{
    Money, Order, OrderEvent, OrderEventKind, OrderId, Price, Side, TimeInForce, Timestamp,
};

pub use questions::{
    DecisionRecord, DryRunRecord, HeldRecord, PreviewRecord, ReportRecord, StandingRecord, Told,
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
