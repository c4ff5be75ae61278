//! What cells put on the bus: changes of orders, fills, and answers to commands. Decimals are text (`"101.25"`), times
//! nanoseconds since 1970-01-01 UTC.
//!
//! Each account numbers its records (`seq`, over both topics together, from 1). A cell that was rebuilt goes on
//! with the next number; a replay makes the same records with the same numbers, by which they are compared.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tradeflow_actors::cell::Answer;
use tradeflow_actors::output::{CellOutput, FillRecord};
use tradeflow_bus::record::encode;
use tradeflow_bus::{NewRecord, Topics, partition_of};
use tradeflow_model::order::Liquidity;
use tradeflow_model::{Order, OrderEvent, OrderEventKind, Timestamp};

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
    /// When.
    pub ts: Timestamp,
}

/// The version of these schemas that is written.
pub const VERSION: u16 = 1;

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
        for (event, order) in &output.events {
            *seq += 1;
            let message = self.order(event, order, strategies, *seq);
            records.push(self.record(&self.topics.orders, encode(&message), event.ts_event));
            if event.kind.fill().is_some()
                && let Some(fill) = fills.next()
            {
                *seq += 1;
                let message = self.fill(fill, strategies, *seq);
                records.push(self.record(&self.topics.fills, encode(&message), event.ts_event));
            }
        }
        records
    }

    fn order(&self, event: &OrderEvent, order: &Order, strategies: &[String], seq: u64) -> OrderMessage {
        let definition = self.plan.run.instrument(order.instrument);
        let (price_scale, size_scale) = (definition.price_scale, definition.size_scale);
        let price =
            |price: Option<tradeflow_model::Price>| price.map(|p| p.to_decimal(price_scale).to_string());
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
            liquidity: match fill.liquidity {
                Liquidity::Maker => "maker".to_owned(),
                Liquidity::Taker => "taker".to_owned(),
            },
            position: fill.position.to_decimal(definition.size_scale).to_string(),
            cash: fill.cash.to_string(),
            ts_event: fill.ts_event.as_nanos(),
            ts_init: fill.ts_init.as_nanos(),
        }
    }

    /// The record of an answer.
    pub(crate) fn reply(&self, id: &str, answer: &Answer, ts: Timestamp) -> NewRecord {
        let reply = Reply {
            v: VERSION,
            account: self.account().to_owned(),
            id: id.to_owned(),
            answer: answer.clone(),
            ts,
        };
        self.record(&self.topics.replies, encode(&reply), ts)
    }
}
