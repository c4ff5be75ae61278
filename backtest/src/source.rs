//! The market events of a plan in their total order, as batches.
//!
//! Each series is read in its own order; the merge takes whole runs of rows from one series as long as no other comes
//! before, so that a single series costs nothing and many cost a comparison a run. Ties go to the series that stands
//! first in the plan. Where a batch ends depends on the rows alone, so that every process cuts alike.

use std::sync::Arc;

use tradeflow_model::market::{Columns, Run, SeriesColumns, SeriesKind, SessionPhase};
use tradeflow_model::plan::RunPlan;
use tradeflow_model::{InstrumentId, MarketBatch, SeriesId, SessionEvent};
use tradeflow_storage::catalog::Catalog;

type Chunks = Box<dyn Iterator<Item = Result<Columns, String>> + Send>;

/// The batches of a plan. Ends after the first error.
pub struct BatchSource {
    cursors: Vec<Cursor>,
    batch_rows: u32,
    number: u64,
    failed: bool,
}

/// Where the reading of a series stands.
struct Cursor {
    series: SeriesId,
    instrument: InstrumentId,
    chunks: Chunks,
    /// The piece being read, and the next row in it; `None` at the end of the series.
    current: Option<(Arc<Columns>, usize)>,
    last_ts: i64,
}

impl BatchSource {
    /// Opens the series of a plan.
    ///
    /// # Errors
    /// When the first piece of a series can't be read.
    pub fn open(plan: &RunPlan, catalog: &Catalog) -> Result<Self, String> {
        let chunks = plan
            .series
            .iter()
            .enumerate()
            .map(|(index, series)| -> Chunks {
                let id = SeriesId(index as u16);
                let definition = plan.instrument(series.instrument);
                let phase = match series.kind {
                    SeriesKind::SessionOpens => SessionPhase::Open,
                    SeriesKind::SessionCloses => SessionPhase::Close,
                    kind => {
                        let rows = plan.batch_rows as usize;
                        let reader = catalog
                            .reader(definition, kind, series.files.clone(), rows)
                            .between(series.start, plan.to)
                            .with_ids(id, series.instrument);
                        return Box::new(reader.map(|chunk| chunk.map_err(|error| error.to_string())));
                    }
                };
                let instrument = series.instrument;
                let (from, to) = (series.start, plan.to);
                let sessions = definition.calendar.sessions(from, to).filter_map(move |session| {
                    let ts = if phase == SessionPhase::Open { session.open } else { session.close };
                    let event = SessionEvent { series: id, instrument, ts_event: ts, ts_init: ts, phase };
                    (ts >= from && ts <= to).then_some(event)
                });
                Box::new(std::iter::once(Ok(Columns::Sessions(sessions.collect()))))
            })
            .collect();
        let ids = plan.series.iter().map(|series| series.instrument);
        Self::of(chunks, ids, plan.batch_rows)
    }

    fn of(
        chunks: Vec<Chunks>,
        instruments: impl Iterator<Item = InstrumentId>,
        batch_rows: u32,
    ) -> Result<Self, String> {
        let mut cursors = Vec::with_capacity(chunks.len());
        for (index, (chunks, instrument)) in chunks.into_iter().zip(instruments).enumerate() {
            let series = SeriesId(index as u16);
            let mut cursor = Cursor { series, instrument, chunks, current: None, last_ts: i64::MIN };
            cursor.refill()?;
            cursors.push(cursor);
        }
        Ok(Self { cursors, batch_rows: batch_rows.max(1), number: 0, failed: false })
    }

    fn batch(&mut self) -> Result<Option<Arc<MarketBatch>>, String> {
        let mut batch = MarketBatch { number: self.number, ..MarketBatch::default() };
        // The part of each series' current piece in this batch.
        let mut parts: Vec<Option<u32>> = vec![None; self.cursors.len()];
        let mut room = self.batch_rows;
        while room > 0 {
            let Some((first, bound)) = self.first_two() else { break };
            let cursor = &mut self.cursors[first];
            let Some((columns, start)) = &cursor.current else { break };
            let start = *start;
            let end = cursor.run_end(columns, start, bound, room as usize);
            let part = *parts[first].get_or_insert_with(|| {
                batch.parts.push(SeriesColumns {
                    series: cursor.series,
                    instrument: cursor.instrument,
                    columns: columns.clone(),
                });
                (batch.parts.len() - 1) as u32
            });
            let last_ts = columns.ts_event(end - 1);
            batch.runs.push(Run { part, start: start as u32, end: end as u32 });
            room -= (end - start) as u32;
            cursor.last_ts = last_ts;
            if end == columns.len() {
                cursor.refill()?;
                parts[first] = None;
            } else if let Some((_, row)) = &mut cursor.current {
                *row = end;
            }
        }
        if batch.runs.is_empty() {
            return Ok(None);
        }
        self.number += 1;
        Ok(Some(Arc::new(batch)))
    }

    /// The series whose next row comes first, and the key that its run must stay below.
    fn first_two(&self) -> Option<(usize, (i64, usize))> {
        let mut best = None;
        let mut bound = (i64::MAX, usize::MAX);
        for (index, cursor) in self.cursors.iter().enumerate() {
            let Some((columns, row)) = &cursor.current else { continue };
            let key = (columns.ts_event(*row), index);
            match best {
                None => best = Some(key),
                Some(least) if key < least => {
                    bound = least;
                    best = Some(key);
                }
                Some(_) => bound = bound.min(key),
            }
        }
        best.map(|(_, index)| (index, bound))
    }
}

impl Cursor {
    /// Gets the next piece that is not empty.
    fn refill(&mut self) -> Result<(), String> {
        self.current = None;
        for chunk in self.chunks.by_ref() {
            let chunk = chunk?;
            if chunk.is_empty() {
                continue;
            }
            if chunk.ts_event(0) < self.last_ts {
                return Err(format!(
                    "series {}: a piece begins at {} although the one before ended at {}",
                    self.series.0,
                    tradeflow_model::Timestamp::from_nanos(chunk.ts_event(0)),
                    tradeflow_model::Timestamp::from_nanos(self.last_ts)
                ));
            }
            self.current = Some((Arc::new(chunk), 0));
            break;
        }
        Ok(())
    }

    /// One past the last row from `start` that comes before `bound`, at most `room` rows on. By galloping, as runs are
    /// either long (one series) or short (many).
    fn run_end(&self, columns: &Columns, start: usize, bound: (i64, usize), room: usize) -> usize {
        let limit = columns.len().min(start + room);
        let before = |row: usize| (columns.ts_event(row), self.series.index()) < bound;
        let mut step = 1;
        let mut low = start; // comes before the bound
        while low + step < limit && before(low + step) {
            low += step;
            step *= 2;
        }
        let mut high = limit.min(low + step);
        while low + 1 < high {
            let middle = low + (high - low) / 2;
            if before(middle) {
                low = middle;
            } else {
                high = middle;
            }
        }
        low + 1
    }
}

impl Iterator for BatchSource {
    type Item = Result<Arc<MarketBatch>, String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let batch = self.batch().transpose()?;
        self.failed = batch.is_err();
        Some(batch)
    }
}

/// Cuts columns into pieces, for tests.
#[cfg(test)]
fn pieces(columns: Vec<Columns>) -> Chunks {
    Box::new(columns.into_iter().map(Ok))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tradeflow_model::market::TradeColumns;

    fn trades(times: &[i64]) -> Columns {
        let mut columns = TradeColumns::default();
        for (index, ts) in times.iter().enumerate() {
            columns.ts_event.push(*ts);
            columns.ts_init.push(*ts);
            columns.price.push(index as i64);
            columns.qty.push(1);
            columns.aggressor.push(Default::default());
        }
        Columns::Trades(columns)
    }

    proptest! {
        /// Oracle: all rows in one list, sorted by (time, series, row).
        #[test]
        fn the_merge_is_the_sorted_whole(
            series in proptest::collection::vec(proptest::collection::vec(0_i64..50, 0..60), 1..5),
            cut in 1_usize..20,
            batch_rows in 1_u32..40,
        ) {
            let mut expected = Vec::new();
            let mut chunks = Vec::new();
            for (index, times) in series.iter().enumerate() {
                let mut times = times.clone();
                times.sort_unstable();
                expected.extend(times.iter().enumerate().map(|(row, ts)| (*ts, index as u16, row)));
                chunks.push(pieces(times.chunks(cut).map(trades).collect()));
            }
            expected.sort_unstable();
            let count = chunks.len();
            let source = BatchSource::of(chunks, (0..count as u32).map(InstrumentId), batch_rows).unwrap();
            let batches: Vec<_> = source.map(Result::unwrap).collect();
            let got: Vec<(i64, u16)> = batches
                .iter()
                .flat_map(|batch| batch.events().map(|e| (e.ts_event().as_nanos(), e.series().0)).collect::<Vec<_>>())
                .collect();
            prop_assert_eq!(got, expected.iter().map(|(ts, series, _)| (*ts, *series)).collect::<Vec<_>>());
            for (number, batch) in batches.iter().enumerate() {
                prop_assert_eq!(batch.number, number as u64);
                let full = number + 1 < batches.len();
                prop_assert!(batch.rows() == u64::from(batch_rows) || (!full && batch.rows() <= u64::from(batch_rows)));
            }
        }
    }

    #[test]
    fn a_series_that_runs_backwards_is_refused() {
        let chunks = vec![pieces(vec![trades(&[5, 6]), trades(&[4])])];
        let mut source = BatchSource::of(chunks, std::iter::once(InstrumentId(0)), 100).unwrap();
        assert!(source.next().unwrap().is_err());
        assert!(source.next().is_none());
    }
}
