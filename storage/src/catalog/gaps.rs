//! What is missing of a series, against the calendar of its instrument.

use tradeflow_model::calendar::Calendar;
use tradeflow_model::market::SeriesKind;
use tradeflow_model::time::NANOS_PER_SEC;
use tradeflow_model::{Instrument, Interval, Timestamp};

use super::writer::is_timed;
use super::{Catalog, CatalogError, SeriesKey, rows};

/// A stretch without data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// Its first instant: the open of the first missing bar, or the last event before a silence.
    pub from: Timestamp,
    /// Its end: the close of the last missing bar, or the first event after a silence.
    pub to: Timestamp,
    /// Bars missing; 0 for a silence.
    pub bars: u64,
}

/// What is missing of a series.
///
/// For bars counted in time the parts are bars: those that the calendar expects between the first and last row (or
/// the time asked for). For trades, quotes and bars not counted in time the parts are nanoseconds of sessions, of
/// which those in silences longer than the threshold count as missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GapReport {
    /// The series.
    pub key: SeriesKey,
    /// The calendar it was held against.
    pub calendar: Calendar,
    /// Start of the time looked at.
    pub from: Timestamp,
    /// Its end.
    pub to: Timestamp,
    /// Rows in that time.
    pub rows: u64,
    /// Parts expected.
    pub expected: u64,
    /// Parts missing.
    pub missing: u64,
    /// Rows that the calendar does not expect: outside its sessions, or off the grid of the interval.
    pub unexpected: u64,
    /// The gaps, in order; neighbouring missing bars are one.
    pub gaps: Vec<Gap>,
    /// Whether the calendar vouches for all of the time; where it does not, holidays show as gaps.
    pub is_vouched_for: bool,
}

impl GapReport {
    /// How much of what is expected is there, in percent; 100 where nothing is expected.
    pub fn percent_complete(&self) -> f64 {
        if self.expected == 0 {
            return 100.0;
        }
        100.0 * (self.expected - self.missing) as f64 / self.expected as f64
    }
}

/// The gaps of a series in `from..to`; `None` for a bound means the first or last row. `None` as a result for a series
/// without rows there.
pub(crate) fn gaps(
    catalog: &Catalog,
    key: &SeriesKey,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    silence_ns: i64,
) -> Result<Option<GapReport>, CatalogError> {
    let instrument = catalog
        .instrument(&key.symbol)?
        .ok_or_else(|| CatalogError::NoInstrument { symbol: key.symbol.clone() })?;
    let files = catalog.files(key, from.unwrap_or(Timestamp::MIN), to.unwrap_or(Timestamp::MAX))?;
    let (Some(first), Some(last)) = (files.first(), files.last()) else { return Ok(None) };
    let from = from.unwrap_or(first.first);
    let ends_with_data = to.is_none();
    let to = to.unwrap_or_else(|| match key.kind {
        SeriesKind::Bars { interval, .. } => {
            last.last.saturating_add(interval.nanos().unwrap_or(NANOS_PER_SEC))
        }
        _ => last.last.saturating_add(1),
    });
    let last_row = last.last;
    let files = files.into_iter().map(|info| info.file).collect();
    let times = Times::new(catalog, &instrument, key.kind, files, from, to);
    let calendar = instrument.calendar;
    let mut report = GapReport {
        key: key.clone(),
        calendar,
        from,
        to,
        rows: 0,
        expected: 0,
        missing: 0,
        unexpected: 0,
        gaps: Vec::new(),
        is_vouched_for: calendar.covers(from) && calendar.covers(to),
    };
    match key.kind {
        SeriesKind::Bars { interval, .. } if is_timed(key.kind) => {
            missing_bars(&mut report, interval, times)?
        }
        SeriesKind::Actions => times.into_iter().try_for_each(|time| time.map(|_| report.rows += 1))?,
        _ => silences(&mut report, silence_ns, times)?,
    }
    if ends_with_data && !matches!(key.kind, SeriesKind::Bars { .. }) {
        report.to = last_row;
    }
    Ok(Some(report))
}

/// The key times of rows, in order.
struct Times {
    reader: super::ChunkReader,
    piece: Option<tradeflow_model::market::Columns>,
    row: usize,
}

impl Times {
    fn new(
        catalog: &Catalog,
        instrument: &Instrument,
        kind: SeriesKind,
        files: Vec<tradeflow_model::plan::DataFile>,
        from: Timestamp,
        to: Timestamp,
    ) -> Self {
        let reader = catalog.reader(instrument, kind, files, 1 << 16).between(from, to);
        Self { reader, piece: None, row: 0 }
    }
}

impl Iterator for Times {
    type Item = Result<Timestamp, CatalogError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(piece) = self.piece.as_ref().filter(|piece| self.row < piece.len()) {
                let time = rows::key_time(piece, self.row);
                self.row += 1;
                return Some(Ok(Timestamp::from_nanos(time)));
            }
            match self.reader.next()? {
                Ok(piece) => (self.piece, self.row) = (Some(piece), 0),
                Err(e) => return Some(Err(e)),
            }
        }
    }
}

fn missing_bars(report: &mut GapReport, interval: Interval, times: Times) -> Result<(), CatalogError> {
    let mut times = times.peekable();
    let slots = report.calendar.expected_bars(interval, report.from, report.to);
    let mut in_gap = false;
    for slot in slots.into_iter().flatten() {
        report.expected += 1;
        let mut found = false;
        while let Some(time) = times.next_if(|time| time.as_ref().map_or(true, |time| *time <= slot.open)) {
            report.rows += 1;
            let time = time?;
            found |= time == slot.open;
            report.unexpected += u64::from(time != slot.open);
        }
        if found {
            in_gap = false;
            continue;
        }
        report.missing += 1;
        match report.gaps.last_mut().filter(|_| in_gap) {
            Some(gap) => {
                gap.to = slot.close;
                gap.bars += 1;
            }
            None => report.gaps.push(Gap { from: slot.open, to: slot.close, bars: 1 }),
        }
        in_gap = true;
    }
    for time in times {
        time?;
        report.rows += 1;
        report.unexpected += 1;
    }
    Ok(())
}

fn silences(report: &mut GapReport, silence_ns: i64, times: Times) -> Result<(), CatalogError> {
    let calendar = report.calendar;
    let mut sessions = tradeflow_model::calendar::SessionCursor::new(calendar);
    let mut before = report.from;
    for time in times {
        let time = time?;
        report.rows += 1;
        report.unexpected += u64::from(!sessions.is_open(time));
        add_silence(report, silence_ns, before, time);
        before = time;
    }
    add_silence(report, silence_ns, before, report.to);
    for session in calendar.sessions(report.from, report.to) {
        let open = overlap(session.open, session.close, report.from, report.to);
        let paused = session.pause.map_or(0, |pause| overlap(pause.start, pause.end, report.from, report.to));
        report.expected += open - paused;
    }
    Ok(())
}

fn overlap(start: Timestamp, end: Timestamp, from: Timestamp, to: Timestamp) -> u64 {
    let length = end.min(to).as_nanos() - start.max(from).as_nanos();
    u64::try_from(length).unwrap_or(0)
}

/// Notes the parts of `from..to` in which the market was open and that are longer than the threshold.
fn add_silence(report: &mut GapReport, silence_ns: i64, from: Timestamp, to: Timestamp) {
    if to.as_nanos().saturating_sub(from.as_nanos()) <= silence_ns {
        return;
    }
    for session in report.calendar.sessions(from, to) {
        let (pause_start, pause_end) =
            session.pause.map_or((session.close, session.close), |pause| (pause.start, pause.end));
        for (start, end) in [(session.open, pause_start), (pause_end, session.close)] {
            let length = overlap(start, end, from, to);
            if length > silence_ns.unsigned_abs() {
                report.missing += length;
                report.gaps.push(Gap { from: start.max(from), to: end.min(to), bars: 0 });
            }
        }
    }
}
