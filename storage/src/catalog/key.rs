//! Names of series, and the folders and files in which they lie.

use std::fmt;

use tradeflow_model::market::{PriceType, SeriesKind};
use tradeflow_model::time::NANOS_PER_DAY;
use tradeflow_model::{Interval, IntervalUnit, Symbol, Timestamp};

/// A series of the catalog: an instrument and what is kept of it.
///
/// Session opens and closes come from the calendar and are not stored.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SeriesKey {
    /// The instrument.
    pub symbol: Symbol,
    /// What is kept.
    pub kind: SeriesKind,
}

impl SeriesKey {
    /// A series of `kind`.
    pub fn new(symbol: Symbol, kind: SeriesKind) -> Self {
        Self { symbol, kind }
    }

    /// A series of bars.
    pub fn bars(symbol: Symbol, interval: Interval, price_type: PriceType) -> Self {
        Self { symbol, kind: SeriesKind::Bars { interval, price_type } }
    }

    /// The folder, relative to the catalog; `None` for kinds that are not stored.
    pub fn folder(&self) -> Option<String> {
        let symbol = escape(self.symbol.as_str());
        Some(match self.kind {
            SeriesKind::Bars { interval, price_type } => {
                format!("kind=bar/interval={interval}/price={}/symbol={symbol}", price_type.name())
            }
            SeriesKind::Trades => format!("kind=trade/symbol={symbol}"),
            SeriesKind::Quotes => format!("kind=quote/symbol={symbol}"),
            SeriesKind::Actions => format!("kind=action/symbol={symbol}"),
            SeriesKind::SessionOpens | SeriesKind::SessionCloses => return None,
        })
    }

    /// The series and partition of a data file's path; `None` for anything else.
    pub fn of_path(path: &str) -> Option<(Self, Partition)> {
        let (folder, name) = path.rsplit_once('/')?;
        if name != "data.parquet" && part_start(name).is_none() {
            return None;
        }
        let mut parts = folder.split('/');
        let mut next = |name: &str| parts.next()?.strip_prefix(name)?.strip_prefix('=');
        let kind = match next("kind")? {
            "bar" => {
                let interval = next("interval")?.parse().ok()?;
                SeriesKind::Bars { interval, price_type: next("price")?.parse().ok()? }
            }
            "trade" => SeriesKind::Trades,
            "quote" => SeriesKind::Quotes,
            "action" => SeriesKind::Actions,
            _ => return None,
        };
        let symbol = Symbol::new(unescape(next("symbol")?)?).ok()?;
        let rest: Vec<_> = parts.collect();
        let key = Self { symbol, kind };
        let partition = Partition::parse(key.partitioning(), &rest)?;
        // Only the one spelling that `path` gives is ours.
        let data = key.path(partition)?;
        (data.strip_suffix("/data.parquet") == Some(folder)).then_some((key, partition))
    }

    /// Path of a further file of a partition, for its rows from `start` on; see [`super::append`].
    pub(crate) fn part_path(&self, partition: Partition, start: i64) -> Option<String> {
        let data = self.path(partition)?;
        Some(format!("{}part-{start:019}.parquet", data.strip_suffix("data.parquet")?))
    }

    /// Whether a path is that of a further file of a partition.
    pub(crate) fn is_part(path: &str) -> bool {
        path.rsplit_once('/').is_some_and(|(_, name)| part_start(name).is_some())
    }

    /// First key time that belongs into a file of a partition: that of `data.parquet` is the least of all.
    pub(crate) fn start_of(path: &str) -> i64 {
        path.rsplit_once('/').and_then(|(_, name)| part_start(name)).unwrap_or(i64::MIN)
    }

    /// How the series is cut into files.
    pub fn partitioning(&self) -> Partitioning {
        match self.kind {
            SeriesKind::Bars { interval, .. } => match interval.unit() {
                IntervalUnit::Day | IntervalUnit::Week => Partitioning::Year,
                _ => Partitioning::Month,
            },
            SeriesKind::Trades | SeriesKind::Quotes => Partitioning::Date,
            _ => Partitioning::Whole,
        }
    }

    /// The partition that a row belongs to, by its key time (see [`key_time_name`](Self::key_time_name)).
    pub fn partition_of(&self, time: Timestamp) -> Partition {
        Partition::containing(self.partitioning(), time)
    }

    /// Path of a partition's file within the catalog; `None` for kinds that are not stored.
    pub fn path(&self, partition: Partition) -> Option<String> {
        let folder = self.folder()?;
        Some(match partition.to_string() {
            name if name.is_empty() => format!("{folder}/data.parquet"),
            name => format!("{folder}/{name}/data.parquet"),
        })
    }

    /// The column by which rows are sorted, partitioned and selected: `ts_open` for bars, `ts_event` for the rest.
    pub fn key_time_name(&self) -> &'static str {
        if matches!(self.kind, SeriesKind::Bars { .. }) { "ts_open" } else { "ts_event" }
    }

    /// The kind in one word, as it stands in folder names: `bar`, `trade`, `quote`, `action`.
    pub fn kind_name(&self) -> &'static str {
        match self.kind {
            SeriesKind::Bars { .. } => "bar",
            SeriesKind::Trades => "trade",
            SeriesKind::Quotes => "quote",
            SeriesKind::Actions => "action",
            SeriesKind::SessionOpens => "session-open",
            SeriesKind::SessionCloses => "session-close",
        }
    }
}

impl fmt::Display for SeriesKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            SeriesKind::Bars { interval, price_type } => {
                write!(f, "{} bars {interval} {}", self.symbol, price_type.name())
            }
            _ => write!(f, "{} {}s", self.symbol, self.kind_name()),
        }
    }
}

/// How a series is cut into files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Partitioning {
    /// A file a UTC date: trades and quotes.
    Date,
    /// A file a UTC month: bars below a day.
    Month,
    /// A file a UTC year: daily and weekly bars.
    Year,
    /// One file: corporate actions.
    Whole,
}

/// A file's share of a series. Written `date=2013-10-07`, `month=2017-05`, `year=2004`, or nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition {
    year: i16,
    month: i8,
    day: i8,
}

impl Partition {
    /// The partition that holds `time`.
    pub fn containing(partitioning: Partitioning, time: Timestamp) -> Self {
        let date = date_of_utc_day(time.utc_day());
        match partitioning {
            Partitioning::Date => Self { year: date.year(), month: date.month(), day: date.day() },
            Partitioning::Month => Self { year: date.year(), month: date.month(), day: 0 },
            Partitioning::Year => Self { year: date.year(), month: 0, day: 0 },
            Partitioning::Whole => Self { year: 0, month: 0, day: 0 },
        }
    }

    /// First instant, and the first instant after it.
    pub fn bounds(self) -> (Timestamp, Timestamp) {
        if self.year == 0 {
            return (Timestamp::MIN, Timestamp::MAX);
        }
        let start = |year, month, day| Timestamp::from_ymd(year, month, day);
        let first = start(self.year, self.month.max(1), self.day.max(1)).unwrap_or(Timestamp::MIN);
        let end = match (self.month, self.day) {
            (0, _) => start(self.year + 1, 1, 1),
            (12, 0) => start(self.year + 1, 1, 1),
            (month, 0) => start(self.year, month + 1, 1),
            _ => first.checked_add(NANOS_PER_DAY),
        };
        (first, end.unwrap_or(Timestamp::MAX))
    }

    fn parse(partitioning: Partitioning, parts: &[&str]) -> Option<Self> {
        let (name, text) = match parts {
            [] => ("", ""),
            [one] => one.split_once('=')?,
            _ => return None,
        };
        let mut fields = text.split('-');
        let mut field = || fields.next()?.parse::<i16>().ok();
        let (year, month, day) = match (partitioning, name) {
            (Partitioning::Whole, "") => (0, 0, 0),
            (Partitioning::Year, "year") => (field()?, 0, 0),
            (Partitioning::Month, "month") => (field()?, field()?, 0),
            (Partitioning::Date, "date") => (field()?, field()?, field()?),
            _ => return None,
        };
        let (month, day) = (i8::try_from(month).ok()?, i8::try_from(day).ok()?);
        if partitioning != Partitioning::Whole {
            Timestamp::from_ymd(year, month.max(1), day.max(1))?;
        }
        Some(Self { year, month, day })
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.year, self.month, self.day) {
            (0, ..) => Ok(()),
            (year, 0, _) => write!(f, "year={year:04}"),
            (year, month, 0) => write!(f, "month={year:04}-{month:02}"),
            (year, month, day) => write!(f, "date={year:04}-{month:02}-{day:02}"),
        }
    }
}

/// The time in the name `part-<nanoseconds, 19 digits>.parquet`.
fn part_start(name: &str) -> Option<i64> {
    let digits = name.strip_prefix("part-")?.strip_suffix(".parquet")?;
    let all_digits = digits.len() == 19 && digits.bytes().all(|digit| digit.is_ascii_digit());
    all_digits.then(|| digits.parse().ok())?
}

fn date_of_utc_day(day: i64) -> jiff::civil::Date {
    Timestamp::from_nanos(day.saturating_mul(NANOS_PER_DAY))
        .to_jiff()
        .to_zoned(jiff::tz::TimeZone::UTC)
        .date()
}

/// A symbol as part of a path. `= ^ +` are written as `%3D %5E %2B`, as Hive writers do, because readers of Hive
/// folders split at `=` and decode the rest like a URL.
pub(crate) fn escape(symbol: &str) -> String {
    symbol.replace('=', "%3D").replace('^', "%5E").replace('+', "%2B")
}

pub(crate) fn unescape(text: &str) -> Option<String> {
    if text.contains(['=', '^', '+']) {
        return None;
    }
    Some(text.replace("%3D", "=").replace("%5E", "^").replace("%2B", "+"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_layout_and_read_back() {
        let t = |text: &str| text.parse::<Timestamp>().unwrap();
        let key = |symbol: &str, kind| SeriesKey::new(Symbol::new(symbol).unwrap(), kind);
        let bars = |interval: &str| SeriesKind::Bars {
            interval: interval.parse().unwrap(),
            price_type: PriceType::Last,
        };
        for (key, time, path) in [
            (
                key("BTCUSD", bars("1m")),
                "2017-05-31T23:59:59Z",
                "kind=bar/interval=1m/price=last/symbol=BTCUSD/month=2017-05/data.parquet",
            ),
            (
                key("GOOG", bars("1d")),
                "2004-08-19",
                "kind=bar/interval=1d/price=last/symbol=GOOG/year=2004/data.parquet",
            ),
            (
                key("SPY", SeriesKind::Trades),
                "2013-10-07T14:00",
                "kind=trade/symbol=SPY/date=2013-10-07/data.parquet",
            ),
            (
                key("EURUSD=X", SeriesKind::Quotes),
                "2014-05-01",
                "kind=quote/symbol=EURUSD%3DX/date=2014-05-01/data.parquet",
            ),
            (key("^GSPC", SeriesKind::Actions), "2014-05-01", "kind=action/symbol=%5EGSPC/data.parquet"),
        ] {
            let partition = key.partition_of(t(time));
            assert_eq!(key.path(partition).unwrap(), path);
            assert_eq!(SeriesKey::of_path(path), Some((key.clone(), partition)));
            let (first, end) = partition.bounds();
            assert!(first <= t(time) && t(time) < end);
            let part = key.part_path(partition, 1_381_154_400_000_000_000).unwrap();
            assert_eq!(part, path.replace("data", "part-1381154400000000000"));
            assert_eq!(SeriesKey::of_path(&part), Some((key.clone(), partition)));
            assert_eq!(
                (SeriesKey::start_of(&part), SeriesKey::is_part(path)),
                (1_381_154_400_000_000_000, false)
            );
        }
        for bad in [
            "kind=bar/interval=1m/price=last/symbol=BTCUSD/month=2017-5/data.parquet",
            "kind=bar/interval=1m/price=last/symbol=BTCUSD/month=2017-13/data.parquet",
            "kind=bar/interval=1m/price=last/symbol=BTCUSD/year=2017/data.parquet",
            "kind=bar/interval=1m/price=last/symbol=BTCUSD/data.parquet",
            "kind=trade/symbol=../date=2013-10-07/data.parquet",
            "kind=trade/symbol=SPY/date=2013-10-07/other.parquet",
            "kind=trade/symbol=SPY/date=2013-10-07/part-12.parquet",
            "instruments/SPY.json",
        ] {
            assert_eq!(SeriesKey::of_path(bad), None, "{bad}");
        }
    }

    #[test]
    fn partitions_meet_without_gap() {
        let year = Partition::containing(Partitioning::Year, Timestamp::from_nanos(-1));
        assert_eq!(year.to_string(), "year=1969");
        assert_eq!(year.bounds().1, Timestamp::from_nanos(0));
        let december = Partition::containing(Partitioning::Month, "2016-12-05".parse().unwrap());
        assert_eq!(december.bounds().1.to_string(), "2017-01-01T00:00:00Z");
    }
}
