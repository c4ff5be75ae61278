//! Orders, fills and bars, as they come on the bus.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tradeflow_bus::record::BarsRecord;
use tradeflow_bus::{Bus, BusError, Position, Reader, Stored, Topics};
use tradeflow_model::Timestamp;
use tradeflow_model::fixed::{Price, Qty};
use tradeflow_state::State;
use tradeflow_state::trading::Projected;

use super::hub::Hub;
use super::messages::{BarLine, Channel, Data};
use crate::projector::rows;
use crate::worker::{Worker, no_thread};

/// Follows the bus. Dropping it stops it.
#[derive(Debug)]
pub struct Tail {
    _worker: Worker,
}

impl Tail {
    /// Begins where the tables end, so that what is not in them goes through the streams. `origin` names the bus; `handle` is
    /// of the runtime that the database is asked on.
    ///
    /// # Errors
    /// When the bus can't be read, or there is no thread.
    pub fn start(
        bus: Arc<dyn Bus>,
        topics: Topics,
        origin: &str,
        state: &State,
        hub: Arc<Hub>,
        handle: &Handle,
    ) -> Result<Self, BusError> {
        let mut places = Vec::new();
        for topic in [&topics.orders, &topics.fills, &topics.bars] {
            for partition in 0..bus.partitions(topic)? {
                let bounds = bus.bounds(topic, partition)?;
                let read = match topic == &topics.bars {
                    true => None,
                    // A database that is away is told by others.
                    false => {
                        handle.block_on(state.projected(origin, topic.as_str(), partition)).unwrap_or(None)
                    }
                };
                let offset = read.unwrap_or(bounds.end).max(bounds.start);
                places.push(Position { topic: topic.clone(), partition, offset });
            }
        }
        let mut reader = bus.reader(&places)?;
        let worker = Worker::repeat("socket-tail", move || follow(reader.as_mut(), &topics, &hub));
        Ok(Self { _worker: worker.map_err(no_thread("socket"))? })
    }
}

fn follow(reader: &mut dyn Reader, topics: &Topics, hub: &Hub) {
    match reader.poll(1000, Duration::from_millis(100)) {
        Ok(records) => records.iter().for_each(|record| tell(record, topics, hub)),
        Err(BusError::Trimmed { topic, partition, first, .. }) => {
            let _ = reader.set(&Position { topic, partition, offset: first });
        }
        Err(error) => {
            tracing::warn!(%error, "the socket's streams");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

/// What can't be read is set aside by those who read for the tables and for the cells.
fn tell(record: &Stored, topics: &Topics, hub: &Hub) {
    let value = record.value.as_deref().unwrap_or_default();
    if record.topic == topics.orders {
        if let Ok(Projected::Order(order, event)) = rows::order(value) {
            let (account, seq) = (order.account.clone(), event.seq as u64);
            let data = Data::Order { order: Box::new((*order).into()), event: Some(event.into()) };
            hub.publish(Channel::Orders, &account, seq, data);
        }
    } else if record.topic == topics.fills {
        if let Ok(Projected::Fill(fill, ..)) = rows::fill(value) {
            hub.filled(&fill);
            let (account, seq) = (fill.account.clone(), fill.seq as u64);
            hub.publish(Channel::Fills, &account, seq, Data::Fill(Box::new((*fill).into())));
        }
    } else if let Ok(bars) = BarsRecord::decode(value) {
        let key = format!("{}/{}", bars.symbol, bars.interval);
        for at in 0..bars.ts_event.len() {
            // Bars of one length end at different seconds, and later ones later.
            let seq = (bars.ts_event[at] / 1_000_000_000) as u64;
            hub.publish(Channel::Bars, &key, seq, Data::Bar(bar(&bars, at)));
        }
    }
}

fn bar(bars: &BarsRecord, at: usize) -> BarLine {
    let price = |raw: &[i64]| Price::from_raw(raw[at]).to_decimal(bars.price_scale).to_string();
    let time = |nanos: &[i64]| Timestamp::from_nanos(nanos[at]).to_string();
    BarLine {
        open_time: time(&bars.ts_open),
        close_time: time(&bars.ts_event),
        open: price(&bars.open),
        high: price(&bars.high),
        low: price(&bars.low),
        close: price(&bars.close),
        volume: Qty::from_raw(bars.volume[at]).to_decimal(bars.size_scale).to_string(),
    }
}
