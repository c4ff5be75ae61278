//! [`ParquetRuns`]: the folders that backtests leave, asked through polars.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | the questions |
//! | `index.rs` | the table of runs, kept up to date |

mod index;

use std::cmp::Ordering;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use polars_core::prelude::*;

use crate::folder::{self, OpenRun};
use crate::frame::{self, EQUITY, FILLS, ORDERS, TRADES, Table};
use crate::query::{Cursor, GROUPS_MAX};
use crate::store::{Answer, account_of, parts};
use crate::{
    EquityPoint, Fill, GroupBy, GroupQuery, GroupStatistics, Order, Page, ResultsError, RowQuery, Run,
    RunFilter, RunQuery, RunStore, SortKey, Trade,
};
use index::Index;

/// The runs under a folder, as `tradeflow backtest --out` leaves them. Cheap to clone; clones share the index.
#[derive(Clone)]
pub struct ParquetRuns {
    root: PathBuf,
    index: Arc<Mutex<Index>>,
}

impl ParquetRuns {
    /// The runs under this folder. Nothing is read before the first question.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        let root = root.into();
        Self { index: Arc::new(Mutex::new(Index::new(root.clone()))), root }
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folders whose `summary.json` can't be read, with the reason: they are in no answer.
    ///
    /// # Errors
    /// When the folder can't be listed.
    pub async fn damaged(&self) -> Result<Vec<(String, String)>, ResultsError> {
        self.blocking(|runs| {
            let mut index = runs.index.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            index.table()?;
            Ok(index.damaged())
        })
        .await
    }

    /// Asks on a thread that may wait for the disk.
    async fn blocking<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Self) -> Result<T, ResultsError> + Send + 'static,
    ) -> Result<T, ResultsError> {
        let runs = self.clone();
        tokio::task::spawn_blocking(move || ask(&runs))
            .await
            .map_err(|error| ResultsError::Internal(format!("a question of the results: {error}")))?
    }

    fn table(&self) -> Result<DataFrame, ResultsError> {
        self.index.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).table()
    }

    fn run_of(&self, name: &str) -> Result<Run, ResultsError> {
        let table = self.table()?;
        let found = equal_to(&table, "run", name).and_then(|mask| frame::runs(&table.filter(&mask)?));
        found.map_err(internal)?.pop().ok_or_else(|| ResultsError::Missing(name.to_owned()))
    }

    fn runs_of(&self, query: &RunQuery) -> Result<Page<Run>, ResultsError> {
        let cursor = query.checked()?;
        let table = self.table()?;
        let page = || -> PolarsResult<Page<Run>> {
            let mut table = filtered(table, &query.filter)?;
            table.with_column(key_of(&table, query.sort)?)?;
            if let Some(cursor) = cursor {
                table = table.filter(&behind(&table, query.sort, &cursor)?)?;
            }
            let found = table.sort(["key", "run"], nulls_last(query.sort.descending()))?;
            let mut rows = frame::runs(&found.head(Some(query.limit + 1)))?;
            let more = rows.len() > query.limit;
            rows.truncate(query.limit);
            let next = rows.last().filter(|_| more).map(|last| cursor_of(query.sort, last));
            Ok(Page { rows, next })
        };
        page().map_err(internal)
    }

    fn groups_of(&self, query: &GroupQuery) -> Result<Vec<GroupStatistics>, ResultsError> {
        let (column, prefix) = match &query.by {
            GroupBy::Symbol => ("symbols", String::new()),
            GroupBy::Strategy => ("kinds", String::new()),
            GroupBy::Param(name) => ("params", format!("{name}=")),
        };
        let table = self.table()?;
        if table.height() == 0 {
            return Ok(Vec::new());
        }
        let groups = || -> PolarsResult<Vec<GroupStatistics>> {
            let mut table = filtered(table, &query.filter)?;
            if table.height() == 0 {
                return Ok(Vec::new()); // lists of no rows can't be exploded
            }
            table.with_column(key_of(&table, SortKey::Best(query.metric))?)?;
            let options = ExplodeOptions { empty_as_null: false, keep_nulls: false };
            let values = table.select([column, "key", "run"])?.explode([column], options)?;
            // Group by group, the best first, runs without a value at the end.
            let mut order = nulls_last(query.metric.more_is_better());
            order.descending.insert(0, false);
            order.nulls_last.insert(0, true);
            let values = values.sort([column, "key", "run"], order)?;
            let (names, keys, runs) =
                (values.column(column)?.str()?, values.column("key")?.f64()?, values.column("run")?.str()?);
            let mut groups: Vec<(GroupStatistics, Vec<f64>)> = Vec::new();
            for ((name, key), run) in names.iter().zip(keys.iter()).zip(runs.iter()) {
                let Some(value) = name.and_then(|name| name.strip_prefix(prefix.as_str())) else { continue };
                if groups.last().is_none_or(|(group, _)| group.value != value) {
                    let best_run = key.and(run).map(str::to_owned);
                    let (value, runs) = (value.to_owned(), 0);
                    let group =
                        GroupStatistics { value, runs, best: key, median: None, worst: None, best_run };
                    groups.push((group, Vec::new()));
                }
                if let Some((group, keys)) = groups.last_mut() {
                    group.runs += 1;
                    keys.extend(key);
                }
            }
            Ok(groups
                .into_iter()
                .map(|(group, keys)| GroupStatistics {
                    median: lower_median(&keys, query),
                    worst: keys.last().copied(),
                    ..group
                })
                .collect())
        };
        sorted(groups().map_err(internal)?)
    }

    fn equity_of(
        &self,
        run: &str,
        account: Option<&str>,
        points_max: Option<usize>,
    ) -> Result<Vec<EquityPoint>, ResultsError> {
        let open = OpenRun::open(&folder::place(&self.root, run)?, run)?;
        let account = account_of(&open.row, account)?;
        let curve = open.table(EQUITY)?;
        let points =
            equal_to(&curve, "account", account).and_then(|mask| frame::equity(&curve.filter(&mask)?));
        let points = points.map_err(|error| self.damaged_table(run, EQUITY, &error))?;
        let ts = |point: Option<&EquityPoint>| point.map_or(0, |point| point.ts.0.as_nanos());
        let parts = parts(points.len() as u64, ts(points.first()), ts(points.last()), points_max)?;
        Ok(match parts {
            Some((start, length)) => thinned(points, start, length),
            None => points,
        })
    }

    fn page<T>(
        &self,
        run: &str,
        table: Table,
        query: &RowQuery,
        read: fn(&DataFrame) -> PolarsResult<Vec<T>>,
    ) -> Result<Page<T>, ResultsError> {
        let first = query.checked()?;
        let open = OpenRun::open(&folder::place(&self.root, run)?, run)?;
        let rows = open.table(table)?;
        let page = || -> PolarsResult<Page<T>> {
            let first = usize::try_from(first).unwrap_or(usize::MAX).min(rows.height());
            let mut rows =
                rows.with_row_index("row".into(), None)?.slice(first as i64, rows.height() - first);
            for (column, wanted) in [("account", &query.account), ("symbol", &query.symbol)] {
                if let Some(wanted) = wanted {
                    rows = rows.filter(&equal_to(&rows, column, wanted)?)?;
                }
            }
            page_of(&rows.head(Some(query.limit + 1)), query.limit, read)
        };
        page().map_err(|error| self.damaged_table(run, table, &error))
    }

    fn damaged_table(&self, run: &str, table: Table, error: &PolarsError) -> ResultsError {
        ResultsError::damaged(&self.root.join(run).join(format!("{}.parquet", table.name)), error)
    }
}

/// A page of what was found, which may be one row more.
pub(crate) fn page_of<T>(
    found: &DataFrame,
    limit: usize,
    read: fn(&DataFrame) -> PolarsResult<Vec<T>>,
) -> PolarsResult<Page<T>> {
    let next = frame::numbers(found, "row")?.get(limit).map(u64::to_string);
    Ok(Page { rows: read(&found.head(Some(limit)))?, next })
}

/// The groups by their value, numbers as numbers and before other texts.
pub(crate) fn sorted(mut groups: Vec<GroupStatistics>) -> Result<Vec<GroupStatistics>, ResultsError> {
    if groups.len() > GROUPS_MAX {
        return Err(ResultsError::Query(format!(
            "there are more than {GROUPS_MAX} groups: ask with a filter"
        )));
    }
    let number = |group: &GroupStatistics| group.value.parse::<rust_decimal::Decimal>().ok();
    groups.sort_by(|a, b| match (number(a), number(b)) {
        (Some(x), Some(y)) => x.cmp(&y).then_with(|| a.value.cmp(&b.value)),
        (x, y) => y.is_some().cmp(&x.is_some()).then_with(|| a.value.cmp(&b.value)),
    });
    Ok(groups)
}

/// The cursor of the page behind this run.
pub(crate) fn cursor_of(sort: SortKey, last: &Run) -> String {
    let key = match sort {
        SortKey::Best(metric) | SortKey::Worst(metric) => last.metric(metric).map(f64::to_bits),
        SortKey::Newest | SortKey::Oldest => Some(last.finished.0.as_nanos().cast_unsigned()),
    };
    Cursor { key, run: last.run.clone() }.to_string()
}

/// The sort key of each row, as the column `key`.
fn key_of(table: &DataFrame, sort: SortKey) -> PolarsResult<Column> {
    let kind = if sort.is_time() { DataType::Int64 } else { DataType::Float64 };
    Ok(table.column(sort.column())?.cast(&kind)?.with_name("key".into()))
}

/// By the key, then by the name; those without a key at the end.
fn nulls_last(descending: bool) -> SortMultipleOptions {
    SortMultipleOptions::default()
        .with_order_descending_multi([descending, false])
        .with_nulls_last_multi([true, true])
}

/// Which rows come behind a cursor.
fn behind(table: &DataFrame, sort: SortKey, cursor: &Cursor) -> PolarsResult<BooleanChunked> {
    let names =
        table.column("run")?.str()?.iter().map(|run| run.is_some_and(|run| run > cursor.run.as_str()));
    let farther =
        |order: Ordering| order == if sort.descending() { Ordering::Less } else { Ordering::Greater };
    let after = |order: Option<Ordering>, later: bool| {
        order.is_some_and(|order| farther(order) || (order == Ordering::Equal && later))
    };
    let keys = table.column("key")?;
    let Some(bits) = cursor.key else {
        return Ok(keys
            .is_null()
            .iter()
            .zip(names)
            .map(|(none, later)| none == Some(true) && later)
            .collect());
    };
    Ok(if sort.is_time() {
        let keys = keys.i64()?.iter().zip(names);
        keys.map(|(key, later)| key.is_none_or(|key| after(Some(key.cmp(&bits.cast_signed())), later)))
            .collect()
    } else {
        let keys = keys.f64()?.iter().zip(names);
        keys.map(|(key, later)| key.is_none_or(|key| after(key.partial_cmp(&f64::from_bits(bits)), later)))
            .collect()
    })
}

/// Which rows have this text.
fn equal_to(table: &DataFrame, column: &str, text: &str) -> PolarsResult<BooleanChunked> {
    Ok(table.column(column)?.str()?.equal(text))
}

/// Which rows have this text in a list.
fn having(table: &DataFrame, column: &str, text: &str) -> PolarsResult<BooleanChunked> {
    let lists = table.column(column)?.list()?;
    lists
        .amortized_iter()
        .map(|list| match list {
            Some(list) => Ok(list.as_ref().str()?.iter().any(|value| value == Some(text))),
            None => Ok(false),
        })
        .collect()
}

fn filtered(mut table: DataFrame, filter: &RunFilter) -> PolarsResult<DataFrame> {
    let params: Vec<_> = filter.param_texts().collect();
    let lists = [("symbols", &filter.symbol), ("kinds", &filter.strategy)];
    let lists = lists.into_iter().filter_map(|(column, text)| Some((column, text.as_ref()?)));
    for (column, text) in lists.chain(params.iter().map(|param| ("params", param))) {
        table = table.filter(&having(&table, column, text)?)?;
    }
    if filter.finished_from.is_some() || filter.finished_to.is_some() {
        let finished = table.column("finished")?.cast(&DataType::Int64)?;
        let within = |ns: i64| {
            filter.finished_from.is_none_or(|from| ns >= from.as_nanos())
                && filter.finished_to.is_none_or(|to| ns < to.as_nanos())
        };
        let mask: BooleanChunked = finished.i64()?.iter().map(|ns| ns.is_some_and(within)).collect();
        table = table.filter(&mask)?;
    }
    Ok(table)
}

/// The middle of values that are sorted, the lower one of two.
fn lower_median(sorted: &[f64], query: &GroupQuery) -> Option<f64> {
    let lower = sorted.len().checked_sub(1)? / 2;
    // The best come first: of a metric of which more is better that is from above.
    let index = if query.metric.more_is_better() { sorted.len() - 1 - lower } else { lower };
    sorted.get(index).copied()
}

/// Of each part of a curve its first, last, lowest and highest point.
fn thinned(points: Vec<EquityPoint>, start: i64, length: i64) -> Vec<EquityPoint> {
    let part = |index: usize| (points[index].ts.0.as_nanos() - start) / length;
    let mut kept = Vec::new();
    let mut begin = 0;
    while begin < points.len() {
        let end = (begin..points.len()).find(|index| part(*index) != part(begin)).unwrap_or(points.len());
        let (mut lowest, mut highest) = (begin, begin);
        for index in begin..end {
            if points[index].equity < points[lowest].equity {
                lowest = index;
            }
            if points[index].equity > points[highest].equity {
                highest = index;
            }
        }
        let mut four = [begin, lowest, highest, end - 1];
        four.sort_unstable();
        kept.extend(
            four.iter().enumerate().filter(|(n, index)| *n == 0 || four[n - 1] != **index).map(|(_, i)| *i),
        );
        begin = end;
    }
    kept.into_iter().map(|index| points[index].clone()).collect()
}

fn internal(error: PolarsError) -> ResultsError {
    ResultsError::Internal(format!("polars: {error}"))
}

impl RunStore for ParquetRuns {
    fn runs<'a>(&'a self, query: &'a RunQuery) -> Answer<'a, Page<Run>> {
        let query = query.clone();
        Box::pin(self.blocking(move |runs| runs.runs_of(&query)))
    }

    fn named<'a>(&'a self, names: &'a [String]) -> Answer<'a, Vec<Run>> {
        let names = names.to_vec();
        Box::pin(self.blocking(move |runs| names.iter().map(|name| runs.run_of(name)).collect()))
    }

    fn summary<'a>(&'a self, run: &'a str) -> Answer<'a, serde_json::Value> {
        let run = run.to_owned();
        Box::pin(self.blocking(move |runs| {
            let place = folder::place(&runs.root, &run)?;
            let (text, _) = folder::summary(&place, &run)?;
            serde_json::from_str(&text)
                .map_err(|error| ResultsError::damaged(&place.join(folder::SUMMARY), error))
        }))
    }

    fn groups<'a>(&'a self, query: &'a GroupQuery) -> Answer<'a, Vec<GroupStatistics>> {
        let query = query.clone();
        Box::pin(self.blocking(move |runs| runs.groups_of(&query)))
    }

    fn equity<'a>(
        &'a self,
        run: &'a str,
        account: Option<&'a str>,
        points_max: Option<usize>,
    ) -> Answer<'a, Vec<EquityPoint>> {
        let (run, account) = (run.to_owned(), account.map(str::to_owned));
        Box::pin(self.blocking(move |runs| runs.equity_of(&run, account.as_deref(), points_max)))
    }

    fn orders<'a>(&'a self, run: &'a str, query: &'a RowQuery) -> Answer<'a, Page<Order>> {
        let (run, query) = (run.to_owned(), query.clone());
        Box::pin(self.blocking(move |runs| runs.page(&run, ORDERS, &query, frame::orders)))
    }

    fn fills<'a>(&'a self, run: &'a str, query: &'a RowQuery) -> Answer<'a, Page<Fill>> {
        let (run, query) = (run.to_owned(), query.clone());
        Box::pin(self.blocking(move |runs| runs.page(&run, FILLS, &query, frame::fills)))
    }

    fn trades<'a>(&'a self, run: &'a str, query: &'a RowQuery) -> Answer<'a, Page<Trade>> {
        let (run, query) = (run.to_owned(), query.clone());
        Box::pin(self.blocking(move |runs| runs.page(&run, TRADES, &query, frame::trades)))
    }
}
