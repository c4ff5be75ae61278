//! Market data that has left the bus, from what the recorder kept of it.

use tradeflow_bus::record::MarketRecord;
use tradeflow_bus::{Stored, Topic};
use tradeflow_ingest::record::Recorded;
use tradeflow_live::journal::Archive;
use tradeflow_model::Timestamp;

/// The recorded catalog as an archive of the bus.
pub struct RecordedArchive(pub Recorded);

impl Archive for RecordedArchive {
    fn records(&self, topic: &Topic, partition: u32, first: u64, last: u64) -> Result<Vec<Stored>, String> {
        let offsets = first..last.saturating_add(1);
        let records = self.0.records(topic, partition, offsets).map_err(|error| error.to_string())?;
        Ok(records
            .into_iter()
            .map(|(offset, record)| {
                let (symbol, value, ts) = match record {
                    MarketRecord::Trades(rows) => {
                        (rows.symbol.clone(), rows.encode(), rows.ts_init.last().copied())
                    }
                    MarketRecord::Quotes(rows) => {
                        (rows.symbol.clone(), rows.encode(), rows.ts_init.last().copied())
                    }
                    MarketRecord::Bars(rows) => {
                        (rows.symbol.clone(), rows.encode(), rows.ts_init.last().copied())
                    }
                };
                Stored {
                    topic: topic.clone(),
                    partition,
                    offset,
                    key: symbol.to_string().into(),
                    value: Some(value.into()),
                    ts: Timestamp::from_nanos(ts.unwrap_or_default()),
                }
            })
            .collect())
    }
}
