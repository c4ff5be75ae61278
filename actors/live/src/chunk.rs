//! A market record of the bus, decoded once for all cells that follow its instrument.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tradeflow_bus::record::{BarsRecord, QuotesRecord, TradesRecord};
use tradeflow_bus::{Stored, Topic, Topics};
use tradeflow_model::market::{Columns, SeriesKind};
use tradeflow_model::{InstrumentId, SeriesId, Symbol, Timestamp};

use crate::session::SessionPlan;

/// The market topics, as the journal names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MarketTopic {
    /// `md.trades.v1`
    Trades,
    /// `md.quotes.v1`
    Quotes,
    /// `md.bars.v1`
    Bars,
}

impl MarketTopic {
    /// The topic of a kind of series; `None` for those that do not come over the bus.
    pub fn of(kind: SeriesKind) -> Option<Self> {
        match kind {
            SeriesKind::Trades => Some(Self::Trades),
            SeriesKind::Quotes => Some(Self::Quotes),
            SeriesKind::Bars { .. } => Some(Self::Bars),
            SeriesKind::Actions | SeriesKind::SessionOpens | SeriesKind::SessionCloses => None,
        }
    }

    /// Its name on this bus.
    pub fn topic(self, topics: &Topics) -> &Topic {
        match self {
            Self::Trades => &topics.trades,
            Self::Quotes => &topics.quotes,
            Self::Bars => &topics.bars,
        }
    }
}

/// A market record: rows of one series, and where they lie on the bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// The topic.
    pub topic: MarketTopic,
    /// The partition.
    pub partition: u32,
    /// The offset.
    pub offset: u64,
    /// The series.
    pub series: SeriesId,
    /// The instrument.
    pub instrument: InstrumentId,
    /// The rows.
    pub columns: Columns,
}

impl Chunk {
    /// When its first row was received.
    pub fn received(&self) -> Option<Timestamp> {
        let received = match &self.columns {
            Columns::Bars(c) => c.ts_init.first(),
            Columns::Trades(c) => c.ts_init.first(),
            Columns::Quotes(c) => c.ts_init.first(),
            Columns::Actions(_) | Columns::Sessions(_) => None,
        };
        received.copied().map(Timestamp::from_nanos)
    }

    /// The chunk without the rows that begin before `from`; `None` when none is left.
    pub(crate) fn since(mut self, from: Timestamp) -> Option<Self> {
        let from = from.as_nanos();
        match &mut self.columns {
            Columns::Bars(c) => {
                let first = c.ts_open.partition_point(|ts| *ts < from);
                for column in [
                    &mut c.ts_open,
                    &mut c.ts_event,
                    &mut c.ts_init,
                    &mut c.open,
                    &mut c.high,
                    &mut c.low,
                    &mut c.close,
                    &mut c.volume,
                ] {
                    column.drain(..first);
                }
            }
            Columns::Trades(c) => {
                let first = c.ts_event.partition_point(|ts| *ts < from);
                for column in [&mut c.ts_event, &mut c.ts_init, &mut c.price, &mut c.qty] {
                    column.drain(..first);
                }
                c.aggressor.drain(..first);
            }
            Columns::Quotes(c) => {
                let first = c.ts_event.partition_point(|ts| *ts < from);
                for column in [
                    &mut c.ts_event,
                    &mut c.ts_init,
                    &mut c.bid,
                    &mut c.ask,
                    &mut c.bid_size,
                    &mut c.ask_size,
                ] {
                    column.drain(..first);
                }
            }
            Columns::Actions(_) | Columns::Sessions(_) => {}
        }
        (!self.columns.is_empty()).then_some(self)
    }
}

/// Decodes market records into the series of a plan.
#[derive(Debug)]
pub struct Decoder {
    topics: Topics,
    instruments: BTreeMap<Symbol, (InstrumentId, (u8, u8))>,
    series: Vec<(InstrumentId, SeriesKind)>,
}

impl Decoder {
    /// For the series of a session.
    pub fn new(plan: &SessionPlan, topics: &Topics) -> Self {
        let instruments = plan.run.instruments.iter().enumerate();
        Self {
            topics: topics.clone(),
            instruments: instruments
                .map(|(i, x)| (x.symbol.clone(), (InstrumentId(i as u32), (x.price_scale, x.size_scale))))
                .collect(),
            series: plan.run.series.iter().map(|series| (series.instrument, series.kind)).collect(),
        }
    }

    /// The chunk of a record; `None` for one that no series of the plan takes.
    ///
    /// # Errors
    /// In words, when the record can't be read or its scales are not the instrument's.
    pub fn chunk(&self, stored: &Stored) -> Result<Option<Chunk>, String> {
        let value = stored.value.as_deref().ok_or("it has no value")?;
        let text = |error: tradeflow_bus::record::RecordError| error.to_string();
        let (topic, symbol, scales, kind, columns) = if stored.topic == self.topics.trades {
            let record = TradesRecord::decode(value).map_err(text)?;
            let scales = (record.price_scale, record.size_scale);
            (MarketTopic::Trades, record.symbol.clone(), scales, SeriesKind::Trades, record.into_columns())
        } else if stored.topic == self.topics.quotes {
            let record = QuotesRecord::decode(value).map_err(text)?;
            let scales = (record.price_scale, record.size_scale);
            (MarketTopic::Quotes, record.symbol.clone(), scales, SeriesKind::Quotes, record.into_columns())
        } else {
            let record = BarsRecord::decode(value).map_err(text)?;
            let scales = (record.price_scale, record.size_scale);
            let kind = SeriesKind::Bars { interval: record.interval, price_type: record.price_type };
            (MarketTopic::Bars, record.symbol.clone(), scales, kind, record.into_columns())
        };
        let Some((instrument, ours)) = self.instruments.get(&symbol) else { return Ok(None) };
        let Some(series) = self.series.iter().position(|series| *series == (*instrument, kind)) else {
            return Ok(None);
        };
        if scales != *ours {
            return Err(format!(
                "{symbol}: its decimals (price, quantity) are {scales:?}, the session's are {ours:?}"
            ));
        }
        Ok(Some(Chunk {
            topic,
            partition: stored.partition,
            offset: stored.offset,
            series: SeriesId(series as u16),
            instrument: *instrument,
            columns,
        }))
    }
}
