//! The hours of each trade date: the weekly rules and their exceptions, read once from the included fact files.

use std::sync::LazyLock;

use jiff::civil::{Date, Time, Weekday};

/// Opening hours of one session in the exchange's local time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hours {
    /// Opening time; on the evening before the trade date where it is not before `close`.
    pub(super) open: Time,
    /// Closing time on the trade date.
    pub(super) close: Time,
    /// From and to of a pause inside the session.
    pub(super) pause: Option<(Time, Time)>,
}

impl Hours {
    /// Whether a time of day of this session lies on the evening before its trade date.
    pub(super) fn is_on_eve(&self, time: Time) -> bool {
        self.open >= self.close && time >= self.open
    }

    /// How far into the two days of the session a time of day lies, for comparing times of one session.
    fn place(&self, time: Time) -> (bool, Time) {
        (!self.is_on_eve(time), time)
    }

    /// Whether the session is under way during the whole of `pause`.
    fn holds(&self, pause: (Time, Time)) -> bool {
        let (start, end) = (self.place(pause.0), self.place(pause.1));
        self.place(self.open) < start && start < end && end < (true, self.close)
    }
}

/// The weekly rule from a trade date on: the hours of Monday to Friday.
#[derive(Debug, Clone, Copy)]
struct Rule {
    from: Date,
    week: [Option<Hours>; 5],
}

/// What is known of one exchange.
#[derive(Debug)]
pub(super) struct Facts {
    /// First date the facts are vouched for.
    pub(super) first: Date,
    /// Last date the facts are vouched for.
    pub(super) last: Date,
    /// By `from`, ascending.
    rules: Vec<Rule>,
    /// By date, ascending; `None` for no session.
    exceptions: Vec<(Date, Option<Hours>)>,
}

/// The New York Stock Exchange.
pub(super) static NYSE: LazyLock<Facts> =
    LazyLock::new(|| Facts::parse(include_str!("facts/xnys.csv")).expect("facts/xnys.csv is well formed"));

/// CME Globex, equity-index futures.
pub(super) static CME: LazyLock<Facts> =
    LazyLock::new(|| Facts::parse(include_str!("facts/cme.csv")).expect("facts/cme.csv is well formed"));

/// The hours of a trade date of the FX week: none at weekends, on Christmas Day and on New Year's Day.
pub(super) fn fx_hours_on(date: Date) -> Option<Hours> {
    weekday_index(date)?;
    if matches!((date.month(), date.day()), (12, 25) | (1, 1)) {
        return None;
    }
    let five = Time::constant(17, 0, 0, 0);
    Some(Hours { open: five, close: five, pause: None })
}

/// 0 for Monday to 4 for Friday; `None` at the weekend.
fn weekday_index(date: Date) -> Option<usize> {
    match date.weekday() {
        Weekday::Saturday | Weekday::Sunday => None,
        day => usize::try_from(day.to_monday_zero_offset()).ok(),
    }
}

impl Facts {
    /// The hours of the session of a trade date; `None` when there is none.
    pub(super) fn hours_on(&self, date: Date) -> Option<Hours> {
        let weekday = weekday_index(date)?;
        if let Ok(at) = self.exceptions.binary_search_by_key(&date, |(day, _)| *day) {
            return self.exceptions[at].1;
        }
        self.rule_on(date)?.week[weekday]
    }

    /// The weekly rule in force on a date; before the first rule, the first.
    fn rule_on(&self, date: Date) -> Option<&Rule> {
        let after = self.rules.partition_point(|rule| rule.from <= date);
        self.rules.get(after.saturating_sub(1))
    }

    /// Reads a fact file; its rows are described at its head.
    fn parse(text: &str) -> Result<Self, String> {
        let mut covers = None;
        let mut rules: Vec<Rule> = Vec::new();
        let mut exceptions: Vec<(Date, Option<(Time, Time)>)> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let at = |why: String| format!("line {}: {why}: {line}", index + 1);
            let fields: Vec<&str> = line.split(',').collect();
            match fields[..] {
                _ if line.starts_with('#') => {}
                ["covers", first, last] => covers = Some((date(first).map_err(at)?, date(last).map_err(at)?)),
                ["regular", from, days, ref times @ ..] => {
                    let from = date(from).map_err(at)?;
                    let hours = hours(times).map_err(at)?;
                    if rules.last().is_none_or(|rule| rule.from < from) {
                        rules.push(Rule { from, week: [None; 5] });
                    }
                    let rule = rules.last_mut().ok_or_else(|| at("no rule".into()))?;
                    if rule.from != from {
                        return Err(at("rules are not in the order of their dates".into()));
                    }
                    rule.week[week_range(days).map_err(at)?].fill(Some(hours));
                }
                ["closed", day] => exceptions.push((date(day).map_err(at)?, None)),
                ["hours", day, open, close] => {
                    let (open, close) = (time(open).map_err(at)?, time(close).map_err(at)?);
                    exceptions.push((date(day).map_err(at)?, Some((open, close))));
                }
                _ => return Err(at("unknown row".into())),
            }
        }
        let (first, last) = covers.ok_or("no `covers` row")?;
        if rules.is_empty() {
            return Err("no `regular` row".into());
        }
        if !exceptions.windows(2).all(|pair| pair[0].0 < pair[1].0) {
            return Err("exceptions are not in the order of their dates".into());
        }
        let mut facts = Self { first, last, rules, exceptions: Vec::new() };
        facts.exceptions =
            exceptions.into_iter().map(|(day, times)| (day, facts.exception(day, times))).collect();
        Ok(facts)
    }

    /// The hours of an exception: its own open and close, and the pause of the weekly rule where it lies inside them.
    fn exception(&self, date: Date, times: Option<(Time, Time)>) -> Option<Hours> {
        let (open, close) = times?;
        let regular = weekday_index(date).and_then(|weekday| self.rule_on(date)?.week[weekday]);
        let bare = Hours { open, close, pause: None };
        let pause = regular.and_then(|hours| hours.pause).filter(|pause| bare.holds(*pause));
        Some(Hours { pause, ..bare })
    }
}

fn date(text: &str) -> Result<Date, String> {
    text.parse().map_err(|_| format!("{text:?} is not a date"))
}

fn time(text: &str) -> Result<Time, String> {
    text.parse().map_err(|_| format!("{text:?} is not a time of day"))
}

fn hours(fields: &[&str]) -> Result<Hours, String> {
    let times = fields.iter().map(|text| time(text)).collect::<Result<Vec<_>, _>>()?;
    let hours = match times[..] {
        [open, close] => Hours { open, close, pause: None },
        [open, close, start, end] => Hours { open, close, pause: Some((start, end)) },
        _ => return Err("a regular row has two or four times".into()),
    };
    match hours.pause {
        Some(pause) if !hours.holds(pause) => Err("the pause is not inside the session".into()),
        _ => Ok(hours),
    }
}

/// `mon-fri`, `tue-fri` or one day, as a range of weekdays from Monday.
fn week_range(text: &str) -> Result<std::ops::RangeInclusive<usize>, String> {
    let day = |name: &str| ["mon", "tue", "wed", "thu", "fri"].iter().position(|known| *known == name);
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (day(first), day(last)) {
        (Some(first), Some(last)) if first <= last => Ok(first..=last),
        _ => Err(format!("{text:?} is not a range of weekdays")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_exception_differs_from_the_weekly_rule_and_is_a_weekday() {
        for facts in [&*NYSE, &*CME] {
            for (date, hours) in &facts.exceptions {
                let weekday = weekday_index(*date).unwrap_or_else(|| panic!("{date} is at a weekend"));
                let regular = facts.rule_on(*date).unwrap().week[weekday];
                assert_ne!(*hours, regular, "{date} repeats the weekly rule");
                assert!(*date <= facts.last, "{date} is past the last date");
            }
        }
    }

    #[test]
    fn a_malformed_file_names_the_line() {
        let head = "covers,2020-01-01,2020-12-31\nregular,2020-01-01,mon-fri,09:30,16:00\n";
        assert!(Facts::parse(head).is_ok());
        for (rows, why) in [
            ("closed,2020-02-30", "line 3: \"2020-02-30\" is not a date"),
            ("hours,2020-02-03,9.30,16:00", "is not a time of day"),
            ("closed,2020-02-04\nclosed,2020-02-03", "not in the order"),
            ("regular,2019-01-01,mon-fri,09:30,16:00", "not in the order"),
            ("regular,2020-03-01,fri-mon,09:30,16:00", "not a range of weekdays"),
            ("regular,2020-03-01,mon,09:30,16:00,16:00,17:00", "pause is not inside"),
            ("regular,2020-03-01,mon,09:30", "two or four times"),
            ("holiday,2020-03-01", "unknown row"),
            ("", "unknown row"),
        ] {
            let error = Facts::parse(&format!("{head}{rows}\n")).unwrap_err();
            assert!(error.contains(why), "{rows}: {error}");
        }
        assert!(Facts::parse("regular,2020-01-01,mon-fri,09:30,16:00\n").unwrap_err().contains("covers"));
        assert!(Facts::parse("covers,2020-01-01,2020-12-31\n").unwrap_err().contains("regular"));
    }
}
