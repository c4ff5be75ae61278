//! One series as it is known here: the catalog, and behind its end the bus, with no gap and no overlap.

use std::collections::{BTreeSet, VecDeque};
use std::ops::{ControlFlow, Range};

use tradeflow_live::tail;
use tradeflow_model::market::{Columns, SeriesKind};
use tradeflow_model::{Bar, Instrument, SeriesId, Timestamp};
use tradeflow_storage::catalog::{FileInfo, SeriesKey};

use super::{BarsError, From, IDS, Known};

/// Rows of a file that are decoded at once.
const PIECE_ROWS: usize = 1 << 14;

/// A series.
pub(super) struct Level<'a> {
    known: &'a Known<'a>,
    pub(super) kind: SeriesKind,
    /// As the catalog defines it, where it does.
    stored: Option<Instrument>,
    files: Vec<FileInfo>,
    /// The series of the session, where it is followed or made here.
    live: Option<SeriesId>,
}

impl<'a> Level<'a> {
    /// A series, where there is anything of it.
    pub(super) fn of(known: &'a Known<'a>, kind: SeriesKind) -> Result<Option<Self>, BarsError> {
        let live = known.followed.and_then(|instrument| known.plan.series_of(instrument, kind));
        let catalog = &known.market.catalog;
        let files = match &known.stored {
            Some(_) => {
                let key = SeriesKey::new(known.definition.symbol.clone(), kind);
                catalog.files(&key, Timestamp::MIN, Timestamp::MAX)?
            }
            None => Vec::new(),
        };
        let is_any = live.is_some() || !files.is_empty();
        Ok(is_any.then(|| Self { known, kind, stored: known.stored.clone(), files, live }))
    }

    /// Where the catalog begins.
    pub(super) fn first(&self) -> Option<Timestamp> {
        self.files.first().map(|file| file.first)
    }

    /// The last row of the catalog.
    pub(super) fn last(&self) -> Option<Timestamp> {
        self.files.iter().map(|file| file.last).max()
    }

    /// Who the rows of the catalog are from.
    pub(super) fn vendors(&self) -> BTreeSet<String> {
        self.files.iter().flat_map(|file| file.sources.clone()).collect()
    }

    /// Hands over rows of a stretch in pieces: those of files in their order, then those of the bus. Rows behind the
    /// stretch may come too.
    pub(super) fn rows(
        &self,
        within: &Range<Timestamp>,
        mut take: impl FnMut(&Columns, From) -> ControlFlow<()>,
    ) -> Result<(), BarsError> {
        for file in &self.files {
            if self.file(file, within, &mut take)?.is_break() {
                return Ok(());
            }
        }
        self.on_bus(within, take)
    }

    fn file(
        &self,
        file: &FileInfo,
        within: &Range<Timestamp>,
        take: &mut impl FnMut(&Columns, From) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, BarsError> {
        let Some(stored) =
            self.stored.as_ref().filter(|_| file.last >= within.start && file.first < within.end)
        else {
            return Ok(ControlFlow::Continue(()));
        };
        let files = vec![file.file.clone()];
        let reader = self.known.market.catalog.reader(stored, self.kind, files, PIECE_ROWS);
        for piece in reader.between(within.start, within.end) {
            if take(&piece?, From::Catalog).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn on_bus(
        &self,
        within: &Range<Timestamp>,
        mut take: impl FnMut(&Columns, From) -> ControlFlow<()>,
    ) -> Result<(), BarsError> {
        let after = self.last().map_or(within.start, |last| within.start.max(last.saturating_add(1)));
        let Some(live) = self.live.filter(|_| after < within.end) else { return Ok(()) };
        let mut done = false;
        tail(&self.known.market.sources, self.known.plan, live, after, |chunk| {
            done = done || take(&chunk.columns, From::Bus).is_break();
        })?;
        Ok(())
    }

    /// The end of the last bar; none where there is none.
    pub(super) fn end(&self) -> Result<Option<Timestamp>, BarsError> {
        let mut end = None;
        let last = self.last().unwrap_or(Timestamp::MIN);
        self.rows(&(last..Timestamp::MAX), |rows, _| {
            let close = (0..rows.len()).map(|row| rows.ts_event(row)).max().map(Timestamp::from_nanos);
            end = end.max(close);
            ControlFlow::Continue(())
        })?;
        Ok(end)
    }

    /// The first or the last bars that begin in a stretch, in the order of time.
    pub(super) fn bars(
        &self,
        within: &Range<Timestamp>,
        newest: bool,
        count: usize,
    ) -> Result<VecDeque<(Bar, From)>, BarsError> {
        let mut found = VecDeque::new();
        if !newest {
            self.rows(within, |rows, from| {
                found.extend(bars_of(rows, within).map(|bar| (bar, from)));
                if found.len() < count { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
            found.truncate(count);
            return Ok(found);
        }
        // From the end: what the bus has, then file by file.
        let mut last = Newest::new(count);
        self.on_bus(within, |rows, from| last.take(bars_of(rows, within).map(|bar| (bar, from))))?;
        found = last.0;
        for file in self.files.iter().rev() {
            if found.len() >= count {
                break;
            }
            let mut last = Newest::new(count - found.len());
            let mut take = |rows: &Columns, from| last.take(bars_of(rows, within).map(|bar| (bar, from)));
            let _ = self.file(file, within, &mut take)?; // it never stops
            last.0.append(&mut found);
            found = last.0;
        }
        Ok(found)
    }
}

/// The bars of a piece that begin in a stretch.
pub(super) fn bars_of<'r>(rows: &'r Columns, within: &'r Range<Timestamp>) -> impl Iterator<Item = Bar> + 'r {
    let bars = match rows {
        Columns::Bars(bars) => Some(bars),
        _ => None,
    };
    let all =
        bars.into_iter().flat_map(|bars| (0..bars.ts_open.len()).map(|row| bars.get(row, IDS.0, IDS.1)));
    all.filter(|bar| within.contains(&bar.ts_open))
}

/// The last so many of what comes.
struct Newest<T>(VecDeque<T>, usize);

impl<T> Newest<T> {
    fn new(count: usize) -> Self {
        Self(VecDeque::new(), count)
    }

    fn take(&mut self, more: impl Iterator<Item = T>) -> ControlFlow<()> {
        for one in more {
            if self.0.len() == self.1 {
                self.0.pop_front();
            }
            self.0.push_back(one);
        }
        ControlFlow::Continue(())
    }
}
