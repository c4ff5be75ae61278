//! Well-known dates, and properties that hold on every calendar. The comparison of every session with the sources is
//! `scripts/check_calendars.py`.

use super::*;
use crate::time::{Interval, NANOS_PER_DAY, NANOS_PER_HOUR, NANOS_PER_MIN};
use jiff::ToSpan;
use jiff::civil::{Weekday, date};
use proptest::prelude::*;

fn t(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The session's open and close in its local time.
fn local(calendar: Calendar, day: Date) -> Option<(String, String)> {
    let session = calendar.session_on(day)?;
    let show =
        |t: Timestamp| calendar.time_zone().to_datetime(t.to_jiff()).strftime("%m-%d %H:%M").to_string();
    Some((show(session.open), show(session.close)))
}

fn assert_hours(calendar: Calendar, day: Date, open: &str, close: &str) {
    assert_eq!(local(calendar, day), Some((open.to_owned(), close.to_owned())), "{calendar} {day}");
}

#[test]
fn nyse_on_well_known_days() {
    let nyse = Calendar::Nyse;
    assert_hours(nyse, date(2013, 7, 2), "07-02 09:30", "07-02 16:00");
    assert_hours(nyse, date(2013, 7, 3), "07-03 09:30", "07-03 13:00");
    assert_hours(nyse, date(2013, 11, 29), "11-29 09:30", "11-29 13:00");
    assert_hours(nyse, date(2002, 9, 11), "09-11 12:00", "09-11 16:00");
    assert_hours(nyse, date(1997, 10, 27), "10-27 09:30", "10-27 15:30");
    assert_hours(nyse, date(1999, 12, 31), "12-31 09:30", "12-31 13:00");
    for (y, m, d) in [
        (2001, 9, 11), // attacks
        (2001, 9, 12),
        (2001, 9, 13),
        (2001, 9, 14),
        (2004, 6, 11),  // funeral of R. Reagan
        (2007, 1, 2),   // funeral of G. Ford
        (2012, 10, 29), // Hurricane Sandy
        (2012, 10, 30),
        (2018, 12, 5), // funeral of G. H. W. Bush
        (2025, 1, 9),  // funeral of J. Carter
        (2022, 6, 20), // Juneteenth, observed on Monday
        (2023, 6, 19),
        (2024, 3, 29), // Good Friday
        (2026, 7, 3),  // Independence Day, observed on Friday
        (2024, 2, 3),  // a Saturday
        (2024, 2, 4),
    ] {
        assert_eq!(nyse.session_on(date(y, m, d)), None, "{y}-{m}-{d}");
    }
    assert!(
        nyse.session_on(date(2021, 6, 18)).is_some(),
        "Juneteenth was no holiday of the exchange before 2022"
    );
    assert!(nyse.session_on(date(2001, 9, 17)).is_some());
    assert_eq!(nyse.sessions(t("2021-01-01"), t("2022-01-01")).count(), 252);
}

#[test]
fn daylight_saving_moves_the_session_in_utc() {
    let open = |day| Calendar::Nyse.session_on(day).unwrap().open;
    assert_eq!(open(date(2020, 3, 6)), t("2020-03-06T14:30:00Z"));
    assert_eq!(open(date(2020, 3, 9)), t("2020-03-09T13:30:00Z"));
    // The Sunday of the change itself: Globex opens at 17:00, after the change.
    let globex = Calendar::CmeGlobex.session_on(date(2020, 3, 9)).unwrap();
    assert_eq!((globex.open, globex.close), (t("2020-03-08T22:00:00Z"), t("2020-03-09T21:00:00Z")));
    // The rule of the years before 2007: last Sunday of October.
    assert_eq!(open(date(2006, 10, 27)), t("2006-10-27T13:30:00Z"));
    assert_eq!(open(date(2006, 10, 30)), t("2006-10-30T14:30:00Z"));
}

#[test]
fn globex_on_well_known_days() {
    let cme = Calendar::CmeGlobex;
    assert_hours(cme, date(2024, 1, 8), "01-07 17:00", "01-08 16:00");
    // The close moved twice, and the trade date began at 15:30 once.
    assert_hours(cme, date(2013, 10, 11), "10-10 17:00", "10-11 16:15");
    assert_hours(cme, date(2015, 9, 18), "09-17 17:00", "09-18 16:15");
    assert_hours(cme, date(2015, 9, 21), "09-20 17:00", "09-21 16:00");
    assert_hours(cme, date(2012, 11, 15), "11-14 15:30", "11-15 15:15");
    assert_hours(cme, date(2012, 11, 12), "11-11 17:00", "11-12 15:15");
    // Holidays: half days, and resumption at 17:00 after them.
    assert_hours(cme, date(2006, 1, 16), "01-15 17:00", "01-16 10:30");
    assert_hours(cme, date(2006, 1, 17), "01-16 17:00", "01-17 15:15");
    assert_hours(cme, date(2006, 7, 3), "07-02 17:00", "07-03 15:15");
    assert_hours(cme, date(2006, 7, 4), "07-03 15:30", "07-04 10:30");
    assert_hours(cme, date(2013, 7, 3), "07-02 17:00", "07-03 12:15");
    assert_hours(cme, date(2013, 7, 4), "07-03 17:00", "07-04 10:30");
    assert_hours(cme, date(2024, 11, 28), "11-27 17:00", "11-28 12:00");
    assert_hours(cme, date(2024, 11, 29), "11-28 17:00", "11-29 12:15");
    assert_hours(cme, date(2022, 6, 20), "06-19 17:00", "06-20 12:00");
    // Good Friday: closed, but for the years in which the employment report came out on it.
    for year in [2010, 2012, 2015, 2021, 2023, 2026] {
        let friday = good_friday(year);
        let close = local(cme, friday).unwrap().1;
        assert!(close.ends_with("08:15"), "{friday} {close}");
    }
    for year in
        [2006, 2007, 2008, 2009, 2011, 2013, 2014, 2016, 2017, 2018, 2019, 2020, 2022, 2024, 2025, 2027, 2028]
    {
        assert_eq!(cme.session_on(good_friday(year)), None, "{year}");
    }
    // One-off closes.
    assert_hours(cme, date(2012, 10, 30), "10-29 17:00", "10-30 08:15");
    assert_hours(cme, date(2018, 12, 5), "12-04 17:00", "12-05 08:30");
    assert_hours(cme, date(2025, 1, 9), "01-08 17:00", "01-09 08:30");
    assert_eq!(cme.session_on(date(2007, 1, 2)), None);
}

/// Two days before Easter, by the anonymous Gregorian algorithm (Meeus, Astronomical Algorithms, chapter 8).
fn good_friday(year: i16) -> Date {
    let y = i32::from(year);
    let (a, b, c) = (y % 19, y / 100, y % 100);
    let (d, e) = (b / 4, b % 4);
    let g = (8 * b + 13) / 25;
    let h = (19 * a + b - d - g + 15) % 30;
    let (i, k) = (c / 4, c % 4);
    let l = (32 + 2 * e + 2 * i - h - k) % 7;
    let m = (a + 11 * h + 19 * l) / 433;
    let month = (h + l - 7 * m + 90) / 25;
    let day = (h + l - 7 * m + 33 * month + 19) % 32;
    date(year, i8::try_from(month).unwrap(), i8::try_from(day).unwrap()).checked_sub(2.days()).unwrap()
}

#[test]
fn globex_pauses() {
    let cme = Calendar::CmeGlobex;
    let pause = |day| cme.session_on(day).unwrap().pause.map(|pause| (pause.start, pause.end));
    assert_eq!(pause(date(2021, 6, 25)), Some((t("2021-06-25T20:15:00Z"), t("2021-06-25T20:30:00Z"))));
    assert_eq!(pause(date(2021, 6, 28)), None);
    assert_eq!(pause(date(2019, 7, 3)), None, "closed at 12:15, before the pause");
    // 2010: maintenance on the evening before.
    assert_eq!(pause(date(2010, 6, 9)), Some((t("2010-06-08T21:30:00Z"), t("2010-06-08T22:00:00Z"))));
    assert_eq!(pause(date(2010, 6, 7)), None, "the week opens on Sunday at 17:00");
    assert!(!cme.is_open(t("2021-06-25T20:15:00Z")) && cme.session_at(t("2021-06-25T20:15:00Z")).is_some());
    assert!(cme.is_open(t("2021-06-25T20:30:00Z")) && cme.is_open(t("2021-06-25T20:14:59Z")));
}

#[test]
fn fx_week() {
    let fx = Calendar::FxWeek;
    assert_hours(fx, date(2017, 6, 5), "06-04 17:00", "06-05 17:00");
    assert!(!fx.is_open(t("2017-06-04T20:59:59Z")) && fx.is_open(t("2017-06-04T21:00:00Z")));
    assert!(fx.is_open(t("2017-06-09T20:59:59Z")) && !fx.is_open(t("2017-06-09T21:00:00Z")));
    assert_eq!(fx.session_at(t("2017-06-07T21:00:00Z")).unwrap().date, date(2017, 6, 8));
    assert_eq!(fx.session_on(date(2017, 12, 25)), None);
    assert_eq!(fx.session_on(date(2018, 1, 1)), None);
    assert_eq!(fx.next_session(t("2017-12-22T22:00:00Z")).unwrap().open, t("2017-12-25T22:00:00Z"));
    // The week in which the clocks change has a session of 24 hours on either side.
    for session in fx.sessions(t("2020-03-01"), t("2020-04-01")) {
        assert_eq!(session.close.as_nanos() - session.open.as_nanos(), NANOS_PER_DAY, "{}", session.date);
    }
}

#[test]
fn always_open() {
    let session = Calendar::AlwaysOpen.session_at(t("2017-02-28T23:59:59Z")).unwrap();
    assert_eq!((session.open, session.close), (t("2017-02-28"), t("2017-03-01")));
    assert!(Calendar::AlwaysOpen.is_open(t("2017-01-01")));
    assert_eq!(Calendar::AlwaysOpen.sessions(t("2017-01-01"), t("2018-01-01")).count(), 365);
}

#[test]
fn facts_have_an_end_and_say_so() {
    for calendar in [Calendar::Nyse, Calendar::CmeGlobex] {
        let end = calendar.facts_end().unwrap();
        assert_eq!(end, date(2028, 12, 31));
        assert!(calendar.covers(t("2028-12-30")) && !calendar.covers(t("2029-01-02")));
        assert!(!calendar.covers(t("1980-01-02")));
        // Past the facts the weekly rule goes on, holidays and all.
        assert!(calendar.session_on(date(2029, 12, 25)).is_some());
    }
    assert!(Calendar::Nyse.covers(t("1990-01-02")) && !Calendar::CmeGlobex.covers(t("1990-01-02")));
    for calendar in [Calendar::AlwaysOpen, Calendar::FxWeek] {
        assert_eq!((calendar.facts_start(), calendar.facts_end()), (None, None));
        assert!(calendar.covers(Timestamp::MIN) && calendar.covers(Timestamp::MAX));
    }
}

#[test]
fn names_read_back() {
    for calendar in Calendar::ALL {
        assert_eq!(calendar.to_string().parse::<Calendar>().unwrap(), calendar);
        let json = serde_json::to_string(&calendar).unwrap();
        assert_eq!(json, format!("\"{calendar}\""));
        assert_eq!(serde_json::from_str::<Calendar>(&json).unwrap(), calendar);
    }
    let error = "nyse".parse::<Calendar>().unwrap_err().to_string();
    assert!(error.contains("\"nyse\"") && error.contains("xnys"), "{error}");
}

#[test]
fn the_ends_of_time_do_not_panic() {
    for calendar in Calendar::ALL {
        for t in [Timestamp::MIN, Timestamp::MAX, Timestamp::MIN.saturating_add(1), Timestamp::from_nanos(0)]
        {
            let _ = (calendar.session_at(t), calendar.is_open(t), calendar.covers(t));
            let _ = (SessionCursor::new(calendar).session_at(t), calendar.sessions(t, t).count());
            let _ =
                (calendar.sessions(t, t.saturating_add(NANOS_PER_DAY)).count(), calendar.previous_session(t));
            let later = t.saturating_add(NANOS_PER_DAY);
            for interval in ["1h", "1d", "1w"] {
                let _ = calendar.expected_bars(interval.parse().unwrap(), t, later).unwrap().count();
            }
        }
        assert_eq!(calendar.next_session(Timestamp::MAX), None);
        assert_eq!(calendar.previous_session(Timestamp::MIN), None);
        assert!(calendar.next_session(Timestamp::MIN).is_some());
        assert!(calendar.previous_session(Timestamp::MAX).is_some());
        assert_eq!(calendar.session_on(Date::MIN), None);
        assert_eq!(calendar.session_on(Date::MAX), None);
        assert_eq!(calendar.sessions(t("2020-01-10"), t("2020-01-01")).count(), 0);
        assert_eq!(
            calendar.expected_bars(Interval::HOUR, t("2020-01-10"), t("2020-01-01")).unwrap().count(),
            0
        );
    }
}

#[test]
fn expected_bars_of_known_days() {
    let bars = |calendar: Calendar, interval: &str, from: &str, to: &str| -> Vec<BarSlot> {
        calendar.expected_bars(interval.parse().unwrap(), t(from), t(to)).unwrap().collect()
    };
    // A regular day, a half day, the hours of a regular day with its short last bar.
    assert_eq!(bars(Calendar::Nyse, "1m", "2013-07-02", "2013-07-03").len(), 390);
    assert_eq!(bars(Calendar::Nyse, "1m", "2013-07-03", "2013-07-04").len(), 210);
    let hours = bars(Calendar::Nyse, "1h", "2013-07-02", "2013-07-03");
    assert_eq!(hours.len(), 7);
    assert_eq!(hours[0].open, t("2013-07-02T13:30:00Z"));
    assert_eq!(hours[6], BarSlot { open: t("2013-07-02T19:30:00Z"), close: t("2013-07-02T20:00:00Z") });
    // 23 hours 15 minutes less the pause of a quarter; and the bar across the pause is kept.
    assert_eq!(bars(Calendar::CmeGlobex, "1m", "2013-10-08T22:00:00Z", "2013-10-09T22:00:00Z").len(), 1380);
    assert_eq!(bars(Calendar::CmeGlobex, "1h", "2013-10-08T22:00:00Z", "2013-10-09T22:00:00Z").len(), 24);
    assert_eq!(bars(Calendar::FxWeek, "1m", "2017-06-04", "2017-06-11").len(), 5 * 1440);
    assert_eq!(bars(Calendar::AlwaysOpen, "1m", "2017-01-01", "2019-01-01").len(), 730 * 1440);
    // From the middle of a bar: the next one is the first.
    let part = bars(Calendar::AlwaysOpen, "5m", "2017-01-01T10:02:00Z", "2017-01-01T10:10:01Z");
    assert_eq!(
        part.iter().map(|bar| bar.open).collect::<Vec<_>>(),
        [t("2017-01-01T10:05"), t("2017-01-01T10:10")]
    );
    // Days and weeks. The week of Good Friday 2024 ends on Thursday.
    assert_eq!(bars(Calendar::Nyse, "1d", "2021-01-01", "2022-01-01").len(), 252);
    let weeks = bars(Calendar::Nyse, "1w", "2024-03-20", "2024-04-08");
    let week = BarSlot { open: t("2024-03-25T13:30:00Z"), close: t("2024-03-28T20:00:00Z") };
    assert_eq!((weeks.len(), weeks[0]), (2, week));
    assert_eq!(bars(Calendar::FxWeek, "1w", "2017-06-04", "2017-06-12").len(), 2);
    assert!(
        Calendar::Nyse.expected_bars("100tick".parse().unwrap(), t("2020-01-01"), t("2020-01-02")).is_none()
    );
}

#[test]
fn nyse_sessions_avoid_weekends_and_stay_within_the_day() {
    for session in Calendar::Nyse.sessions(t("1962-01-01"), t("2030-01-01")) {
        assert!(!matches!(session.date.weekday(), Weekday::Saturday | Weekday::Sunday));
        assert_eq!(Calendar::Nyse.local_date(session.open), session.date);
        assert_eq!(Calendar::Nyse.local_date(session.close), session.date);
    }
}

fn calendars() -> impl Strategy<Value = Calendar> {
    proptest::sample::select(Calendar::ALL.to_vec())
}

/// Any instant from 1950 to 2050, at a whole minute half of the time, so that opens and closes are hit.
fn instants() -> impl Strategy<Value = Timestamp> {
    let (from, to) = (t("1950-01-01").as_nanos(), t("2050-01-01").as_nanos());
    (from..to, any::<bool>()).prop_map(|(nanos, whole)| {
        let step = if whole { 15 * NANOS_PER_MIN } else { 1 };
        Timestamp::from_nanos(nanos - nanos.rem_euclid(step))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn sessions_are_sorted_disjoint_and_overlap_the_question(
        calendar in calendars(), from in instants(), days in 0i64..60,
    ) {
        let to = from.saturating_add(days * NANOS_PER_DAY);
        let sessions: Vec<Session> = calendar.sessions(from, to).collect();
        for session in &sessions {
            prop_assert!(session.open < session.close && session.open < to && session.close > from);
            prop_assert_eq!(calendar.session_on(session.date), Some(*session));
            if let Some(pause) = session.pause {
                prop_assert!(session.open < pause.start && pause.start < pause.end && pause.end < session.close);
            }
        }
        for pair in sessions.windows(2) {
            prop_assert!(pair[0].close <= pair[1].open && pair[0].date < pair[1].date);
            prop_assert_eq!(calendar.next_session(pair[0].close), Some(pair[1]));
            prop_assert_eq!(calendar.previous_session(pair[1].open), Some(pair[0]));
        }
        // None is left out: the neighbours lie outside.
        if let (Some(first), Some(last)) = (sessions.first(), sessions.last()) {
            prop_assert!(calendar.previous_session(first.open).unwrap().close <= from);
            prop_assert!(calendar.next_session(last.close).unwrap().open >= to);
        }
    }

    #[test]
    fn session_at_agrees_with_the_list_and_the_cursor(calendar in calendars(), start in instants()) {
        let mut cursor = SessionCursor::new(calendar);
        let step = 47 * NANOS_PER_MIN;
        // Forward over two weeks, then back.
        for k in (0..430i64).chain((0..430).rev()) {
            let at = start.saturating_add(k * step);
            let listed = calendar.sessions(at, at.saturating_add(1)).next();
            let found = calendar.session_at(at);
            prop_assert_eq!(found, listed);
            prop_assert_eq!(cursor.session_at(at), found);
            prop_assert_eq!(cursor.is_open(at), calendar.is_open(at));
            match found {
                Some(session) => {
                    prop_assert!(session.contains(at));
                    prop_assert_eq!(calendar.session_at(session.open), Some(session));
                    prop_assert_ne!(calendar.session_at(session.close), Some(session));
                }
                None => prop_assert!(!calendar.is_open(at)),
            }
        }
    }

    #[test]
    fn expected_bars_tile_the_open_minutes(calendar in calendars(), from in instants(), hours in 0i64..200) {
        let to = from.saturating_add(hours * NANOS_PER_HOUR);
        let bars: Vec<BarSlot> = calendar.expected_bars(Interval::MINUTE, from, to).unwrap().collect();
        // Sessions and pauses begin and end on whole minutes: the minutes that open in from..to and are open.
        let first = from.as_nanos() + (-from.as_nanos()).rem_euclid(NANOS_PER_MIN);
        let open = (first..to.as_nanos())
            .step_by(usize::try_from(NANOS_PER_MIN).unwrap())
            .map(Timestamp::from_nanos);
        let mut cursor = SessionCursor::new(calendar);
        let open: Vec<Timestamp> = open.filter(|t| cursor.is_open(*t)).collect();
        prop_assert_eq!(bars.iter().map(|bar| bar.open).collect::<Vec<_>>(), open);
        prop_assert!(bars.iter().all(|bar| bar.close.as_nanos() - bar.open.as_nanos() == NANOS_PER_MIN));
    }

    #[test]
    fn coarser_bars_are_anchored_at_the_open(calendar in calendars(), from in instants(), pick in 0usize..5) {
        let interval: Interval = ["5m", "15m", "1h", "4h", "12h"][pick].parse().unwrap();
        let length = interval.nanos().unwrap();
        let to = from.saturating_add(20 * NANOS_PER_DAY);
        let bars: Vec<BarSlot> = calendar.expected_bars(interval, from, to).unwrap().collect();
        let mut expected = Vec::new();
        for session in calendar.sessions(from, to) {
            let mut open = session.open;
            while open < session.close {
                let close = open.saturating_add(length).min(session.close);
                let paused = session.pause.is_some_and(|pause| pause.start <= open && close <= pause.end);
                if !paused && from <= open && open < to {
                    expected.push(BarSlot { open, close });
                }
                open = close;
            }
        }
        prop_assert_eq!(bars, expected);
    }
}
