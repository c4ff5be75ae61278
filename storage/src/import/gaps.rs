//! What a series lacks against the calendar.

use tradeflow_model::calendar::{BarSlot, Calendar, ExpectedBars};
use tradeflow_model::{Interval, Timestamp};

use super::report::{Gap, GapReport};

/// Stretches that the report spells out.
const LONGEST_MAX: usize = 5;

/// Compares key times, given in order, with the bars that a calendar expects.
///
/// An expected bar is there when a row starts within it, so that bars counted from the hour and bars counted from the
/// session's open are both found.
pub(super) struct GapTest {
    calendar: Calendar,
    interval: Interval,
    expected: Option<ExpectedBars>,
    slot: Option<BarSlot>,
    /// Whether a row has started in `slot`.
    filled: bool,
    first: Option<i64>,
    last: i64,
    open_gap: Option<(Timestamp, Timestamp, u64)>,
    report: GapReport,
    /// Rows outside all expected bars.
    pub(super) outside: u64,
}

impl GapTest {
    pub(super) fn new(calendar: Calendar, interval: Interval) -> Self {
        Self {
            calendar,
            interval,
            expected: None,
            slot: None,
            filled: false,
            first: None,
            last: 0,
            open_gap: None,
            report: GapReport { covered: true, ..GapReport::default() },
            outside: 0,
        }
    }

    /// Takes the next key time. False when it lies outside all sessions.
    pub(super) fn push(&mut self, key: i64) -> bool {
        if self.first.is_none() {
            self.first = Some(key);
            self.report.covered = self.calendar.covers(Timestamp::from_nanos(key));
            // Begin with the slot in which the first row lies.
            let reach = self.interval.nominal_nanos().saturating_mul(2);
            let from = Timestamp::from_nanos(key.saturating_sub(reach));
            self.expected = self.calendar.expected_bars(self.interval, from, Timestamp::MAX);
            self.slot =
                self.expected.as_mut().and_then(|slots| slots.find(|slot| slot.close.as_nanos() > key));
        }
        self.last = key;
        while let Some(slot) = self.slot.filter(|slot| slot.close.as_nanos() <= key) {
            self.close_slot(slot);
            self.slot = self.expected.as_mut().and_then(Iterator::next);
        }
        let inside = self.slot.is_some_and(|slot| slot.open.as_nanos() <= key);
        self.filled |= inside;
        self.outside += u64::from(!inside);
        inside
    }

    fn close_slot(&mut self, slot: BarSlot) {
        self.report.expected += 1;
        if std::mem::take(&mut self.filled) {
            self.end_gap();
            return;
        }
        self.report.missing += 1;
        self.open_gap = match self.open_gap {
            None => Some((slot.open, slot.close, 1)),
            Some((from, _, bars)) => Some((from, slot.close, bars + 1)),
        };
    }

    fn end_gap(&mut self) {
        let Some((from, to, bars)) = self.open_gap.take() else { return };
        self.report.gaps += 1;
        let longest = &mut self.report.longest;
        let at = longest.partition_point(|gap| gap.bars >= bars);
        if at < LONGEST_MAX {
            longest.insert(at, Gap { from: from.to_string(), to: to.to_string(), bars });
            longest.truncate(LONGEST_MAX);
        }
    }

    /// The report, when no more rows come; `None` without rows, or for bars not counted in time.
    pub(super) fn finish(mut self) -> Option<GapReport> {
        self.first?;
        self.expected.as_ref()?;
        if std::mem::take(&mut self.filled) {
            self.report.expected += 1;
            self.end_gap();
        }
        self.report.covered &= self.calendar.covers(Timestamp::from_nanos(self.last));
        Some(self.report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_nanos()
    }

    #[test]
    fn missing_minutes_and_closed_hours_are_told_apart() {
        let mut test = GapTest::new(Calendar::Nyse, Interval::MINUTE);
        // Friday's last two minutes, then Monday from 9:33; 9:00 on Monday is before the open.
        for key in ["2013-10-04T19:58Z", "2013-10-04T19:59Z"] {
            assert!(test.push(at(key)));
        }
        assert!(!test.push(at("2013-10-07T13:00Z")));
        assert!(test.push(at("2013-10-07T13:33Z")));
        assert_eq!(test.outside, 1);
        let report = test.finish().unwrap();
        assert_eq!((report.expected, report.missing, report.gaps), (6, 3, 1));
        assert_eq!(report.longest[0].from, "2013-10-07T13:30:00Z");
        assert!(report.covered);
    }

    #[test]
    fn sessions_are_counted_by_date() {
        let mut test = GapTest::new(Calendar::Nyse, Interval::DAY);
        for key in ["2013-07-03T13:30Z", "2013-07-05T13:30Z", "2013-07-09T13:30Z"] {
            assert!(test.push(at(key)));
        }
        let report = test.finish().unwrap();
        assert_eq!((report.expected, report.missing), (4, 1), "July 4 is a holiday, July 8 is missing");
    }
}
