//! Aggregation of a series of the catalog into another.

use tradeflow_model::market::{Columns, PriceType, SeriesKind};
use tradeflow_model::{Bar, BarColumns, InstrumentId, Interval, SeriesId, Timestamp};

use super::{AggregateError, Aggregator, Outside, Source};
use crate::catalog::{Catalog, CatalogError, ConflictPolicy, MergeReport, SeriesKey};

/// What an aggregation did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AggregateReport {
    /// The series that was made.
    pub key: SeriesKey,
    /// Events read.
    pub events: u64,
    /// Events left out because they lie outside the sessions of the instrument's calendar.
    pub outside: u64,
    /// Bars made.
    pub bars: u64,
    /// How they joined the catalog.
    pub merge: MergeReport,
}

/// Why an aggregation failed; the catalog is as it was, unless the store failed in the midst of writing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The catalog.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The events.
    #[error("{series}: {source}")]
    Aggregate {
        /// The series that was read.
        series: String,
        /// What is wrong.
        source: AggregateError,
    },
    /// There is nothing to read.
    #[error("{series}: the catalog holds no rows of it in that time; `catalog ls` shows what there is")]
    Empty {
        /// The series that was to be read.
        series: String,
    },
}

/// Makes bars of `interval` from the rows of `from` with `start ≤ key time < end`, and merges them into the catalog.
/// `price_type` matters for quotes only: trades make bars of last prices, bars keep their own.
///
/// The first and last bar hold only the events of that time, so cut at the edges of bars.
///
/// # Errors
/// As [`Aggregator`] and [`Catalog::merge`].
#[allow(clippy::too_many_arguments)] // each is one choice of the user
pub fn run(
    catalog: &Catalog,
    from: &SeriesKey,
    start: Timestamp,
    end: Timestamp,
    interval: Interval,
    price_type: PriceType,
    outside: Outside,
    conflict: ConflictPolicy,
) -> Result<AggregateReport, RunError> {
    let fail = |source| RunError::Aggregate { series: from.to_string(), source };
    let (source, price_type) = match from.kind {
        SeriesKind::Trades => (Source::Trades, PriceType::Last),
        SeriesKind::Quotes => (Source::Quotes(price_type), price_type),
        SeriesKind::Bars { interval, price_type } => (Source::Bars(interval), price_type),
        _ => {
            return Err(fail(AggregateError::Impossible {
                from: from.kind_name().to_owned() + "s",
                to: interval,
                why: "they have no prices",
            }));
        }
    };
    let definition = catalog
        .instrument(&from.symbol)?
        .ok_or_else(|| CatalogError::NoInstrument { symbol: from.symbol.clone() })?;
    let ids = (SeriesId(0), InstrumentId(0));
    let mut aggregator = Aggregator::new(&definition, ids, source, interval, outside).map_err(fail)?;
    let files: Vec<_> = catalog.files(from, start, end)?.into_iter().map(|info| info.file).collect();
    let mut bars: Vec<Bar> = Vec::new();
    let mut made = BarColumns::default();
    let mut events = 0;
    for piece in catalog.reader(&definition, from.kind, files, 1 << 16).between(start, end) {
        let piece = piece?;
        events += piece.len() as u64;
        for row in 0..piece.len() {
            match &piece {
                Columns::Trades(c) => aggregator.push_trade(&c.get(row, ids.0, ids.1), &mut bars),
                Columns::Quotes(c) => aggregator.push_quote(&c.get(row, ids.0, ids.1), &mut bars),
                Columns::Bars(c) => aggregator.push_bar(&c.get(row, ids.0, ids.1), &mut bars),
                _ => Ok(()),
            }
            .map_err(fail)?;
        }
        bars.drain(..).for_each(|bar| made.push(&bar));
    }
    if events == 0 {
        return Err(RunError::Empty { series: from.to_string() });
    }
    aggregator.flush(&mut bars);
    bars.drain(..).for_each(|bar| made.push(&bar));
    let key = SeriesKey::bars(from.symbol.clone(), interval, price_type);
    let count = made.ts_open.len() as u64;
    let merge = catalog.merge(&key, &format!("aggregate of {from}"), &Columns::Bars(made), conflict)?;
    Ok(AggregateReport { key, events, outside: aggregator.dropped(), bars: count, merge })
}
