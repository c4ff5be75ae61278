//! The questions, in SQL.

use ::clickhouse::query::Query;
use polars_core::prelude::{DataFrame, PolarsResult};

use super::{ClickHouseRuns, texts};
use crate::frame::{self, FILLS, ORDERS, RUN_COLUMNS, TRADES, Table};
use crate::parquet::{cursor_of, page_of, sorted};
use crate::query::{Cursor, GROUPS_MAX};
use crate::store::{Answer, account_of, parts};
use crate::{
    EquityPoint, Fill, GroupBy, GroupQuery, GroupStatistics, Order, Page, ResultsError, RowQuery, Run,
    RunFilter, RunQuery, RunStore, SortKey, Trade,
};

/// A statement that grows, with what is bound to it.
struct Statement {
    text: String,
    bound: Vec<(String, String)>,
}

impl Statement {
    fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), bound: Vec::new() }
    }

    /// Binds a value; gives what stands for it in the text.
    fn bind(&mut self, kind: &str, value: impl ToString) -> String {
        let name = format!("p{}", self.bound.len());
        self.bound.push((name.clone(), value.to_string()));
        format!("{{{name}:{kind}}}")
    }

    fn add(&mut self, text: &str) {
        self.text.push_str(text);
    }

    fn query(self, runs: &ClickHouseRuns) -> Query {
        let query = runs.query(&self.text);
        self.bound.into_iter().fold(query, |query, (name, value)| query.param(&name, value))
    }

    /// The conditions of a filter.
    fn filter(&mut self, filter: &RunFilter) {
        let mut has = |list: &str, value: &str| {
            let value = self.bind("String", value);
            self.add(&format!(" AND has({list}, {value})"));
        };
        if let Some(symbol) = &filter.symbol {
            has("symbols", symbol);
        }
        if let Some(strategy) = &filter.strategy {
            has("kinds", strategy);
        }
        for param in filter.param_texts() {
            has("params", &param);
        }
        let bounds = [(filter.finished_from, ">="), (filter.finished_to, "<")];
        for (bound, comparison) in bounds {
            if let Some(bound) = bound {
                let bound = self.bind("Int64", bound.as_nanos());
                self.add(&format!(" AND toUnixTimestamp64Nano(finished) {comparison} {bound}"));
            }
        }
    }

    /// Rows of a run's table.
    fn rows_of(&mut self, run: &str, content: &str) {
        let (run, content) = (self.bind("String", run), self.bind("String", content));
        self.add(&format!(" WHERE run = {run} AND content = {content}"));
    }

    fn equal(&mut self, column: &str, value: Option<&str>) {
        if let Some(value) = value {
            let value = self.bind("String", value);
            self.add(&format!(" AND {column} = {value}"));
        }
    }
}

/// The sort key of a run.
fn key_of(sort: SortKey) -> String {
    match sort.is_time() {
        true => "toUnixTimestamp64Nano(finished)".to_owned(),
        false => format!("toFloat64({})", sort.column()),
    }
}

impl ClickHouseRuns {
    async fn ask<T>(
        &self,
        statement: Statement,
        read: fn(&DataFrame) -> PolarsResult<Vec<T>>,
    ) -> Result<Vec<T>, ResultsError> {
        let answer = self.answer(statement.query(self)).await?;
        read(&answer).map_err(|error| self.unexpected(&error))
    }

    pub(super) async fn run_of(&self, name: &str) -> Result<Run, ResultsError> {
        let mut statement = Statement::new(format!("SELECT {} FROM runs FINAL", RUN_COLUMNS.join(", ")));
        let bound = statement.bind("String", name);
        statement.add(&format!(" WHERE run = {bound}"));
        let found = self.ask(statement, frame::runs).await?.pop();
        found.ok_or_else(|| ResultsError::Missing(name.to_owned()))
    }

    async fn runs_of(&self, query: &RunQuery) -> Result<Page<Run>, ResultsError> {
        let cursor = query.checked()?;
        let key = key_of(query.sort);
        let mut statement =
            Statement::new(format!("SELECT {} FROM runs FINAL WHERE 1", RUN_COLUMNS.join(", ")));
        statement.filter(&query.filter);
        if let Some(Cursor { key: bits, run }) = cursor {
            let run = statement.bind("String", run);
            match bits {
                None => statement.add(&format!(" AND isNull({key}) AND run > {run}")),
                Some(bits) => {
                    let last = match query.sort.is_time() {
                        true => statement.bind("Int64", bits.cast_signed()),
                        // By its bits: a number in text may be read as its neighbour.
                        false => format!("reinterpretAsFloat64({})", statement.bind("UInt64", bits)),
                    };
                    let farther = if query.sort.descending() { "<" } else { ">" };
                    statement.add(&format!(
                        " AND (isNull({key}) OR {key} {farther} {last} OR ({key} = {last} AND run > {run}))"
                    ));
                }
            }
        }
        let direction = if query.sort.descending() { "DESC" } else { "ASC" };
        statement.add(&format!(" ORDER BY {key} {direction} NULLS LAST, run LIMIT {}", query.limit + 1));
        let mut rows = self.ask(statement, frame::runs).await?;
        let more = rows.len() > query.limit;
        rows.truncate(query.limit);
        let next = rows.last().filter(|_| more).map(|last| cursor_of(query.sort, last));
        Ok(Page { rows, next })
    }

    async fn groups_of(&self, query: &GroupQuery) -> Result<Vec<GroupStatistics>, ResultsError> {
        let mut statement = Statement::new("");
        let values = match &query.by {
            GroupBy::Symbol => "symbols".to_owned(),
            GroupBy::Strategy => "kinds".to_owned(),
            GroupBy::Param(name) => {
                let name = statement.bind("String", format!("{name}="));
                // Both count bytes.
                let value = format!("substring(param, length({name}) + 1)");
                format!("arrayMap(param -> {value}, arrayFilter(param -> startsWith(param, {name}), params))")
            }
        };
        let (best, worst, sign) = match query.metric.more_is_better() {
            true => ("max", "min", "-"),
            false => ("min", "max", ""),
        };
        statement.add(&format!(
            "SELECT value, count() AS runs, {best}(metric) AS best, quantileExactLow(0.5)(metric) AS median, \
             {worst}(metric) AS worst, nullIf(argMinIf(run, ({sign}assumeNotNull(metric), run), isNotNull(metric)), '') \
             AS best_run FROM (SELECT run, toNullable(toFloat64({})) AS metric, arrayJoin({values}) AS value \
             FROM runs FINAL WHERE 1",
            query.metric.name(),
        ));
        statement.filter(&query.filter);
        statement.add(&format!(") GROUP BY value LIMIT {}", GROUPS_MAX + 1));
        sorted(self.ask(statement, frame::groups).await?)
    }

    /// The digest of a run's tables.
    async fn content_of(&self, run: &str) -> Result<String, ResultsError> {
        let mut statement = Statement::new("SELECT content FROM runs FINAL");
        let bound = statement.bind("String", run);
        statement.add(&format!(" WHERE run = {bound}"));
        let answer = self.answer(statement.query(self)).await?;
        texts(self, &answer, "content")?.pop().ok_or_else(|| ResultsError::Missing(run.to_owned()))
    }

    async fn equity_of(
        &self,
        run: &str,
        account: Option<&str>,
        points_max: Option<usize>,
    ) -> Result<Vec<EquityPoint>, ResultsError> {
        let row = self.run_of(run).await?;
        let account = account_of(&row, account)?;
        let content = self.content_of(run).await?;
        let mut statement = Statement::new(
            "SELECT count() AS rows, toUnixTimestamp64Nano(min(ts)) AS first, toUnixTimestamp64Nano(max(ts)) AS last \
             FROM equity FINAL",
        );
        statement.rows_of(run, &content);
        statement.equal("account", Some(account));
        let answer = self.answer(statement.query(self)).await?;
        let read = || {
            Ok((
                frame::number(&answer, "rows")?,
                frame::integer(&answer, "first")?,
                frame::integer(&answer, "last")?,
            ))
        };
        let (rows, first, last) = read().map_err(|error| self.unexpected(&error))?;
        let parts = parts(rows, first, last, points_max)?;
        let mut statement = Statement::new("SELECT row, ts, cash, equity FROM equity FINAL");
        statement.rows_of(run, &content);
        statement.equal("account", Some(account));
        if let Some((start, length)) = parts {
            statement.add(
                " AND row IN (SELECT arrayJoin([min(row), argMin(row, (equity, row)), argMin(row, (-equity, row)), \
                 max(row)]) FROM equity FINAL",
            );
            statement.rows_of(run, &content);
            statement.equal("account", Some(account));
            statement.add(&format!(" GROUP BY intDiv(toUnixTimestamp64Nano(ts) - {start}, {length}))"));
        }
        statement.add(" ORDER BY row");
        self.ask(statement, frame::equity).await
    }

    async fn page<T>(
        &self,
        run: &str,
        table: Table,
        query: &RowQuery,
        read: fn(&DataFrame) -> PolarsResult<Vec<T>>,
    ) -> Result<Page<T>, ResultsError> {
        let first = query.checked()?;
        let content = self.content_of(run).await?;
        let columns: Vec<_> = table.names().collect();
        let mut statement =
            Statement::new(format!("SELECT row, {} FROM {} FINAL", columns.join(", "), table.name));
        statement.rows_of(run, &content);
        statement.add(&format!(" AND row >= {first}"));
        statement.equal("account", query.account.as_deref());
        statement.equal("symbol", query.symbol.as_deref());
        statement.add(&format!(" ORDER BY row LIMIT {}", query.limit + 1));
        let found = self.answer(statement.query(self)).await?;
        page_of(&found, query.limit, read).map_err(|error| self.unexpected(&error))
    }
}

impl RunStore for ClickHouseRuns {
    fn runs<'a>(&'a self, query: &'a RunQuery) -> Answer<'a, Page<Run>> {
        Box::pin(self.runs_of(query))
    }

    fn named<'a>(&'a self, names: &'a [String]) -> Answer<'a, Vec<Run>> {
        Box::pin(async move {
            let mut rows = Vec::with_capacity(names.len());
            for name in names {
                rows.push(self.run_of(name).await?);
            }
            Ok(rows)
        })
    }

    fn summary<'a>(&'a self, run: &'a str) -> Answer<'a, serde_json::Value> {
        Box::pin(async move {
            let mut statement = Statement::new("SELECT summary FROM runs FINAL");
            let bound = statement.bind("String", run);
            statement.add(&format!(" WHERE run = {bound}"));
            let answer = self.answer(statement.query(self)).await?;
            let text = texts(self, &answer, "summary")?
                .pop()
                .ok_or_else(|| ResultsError::Missing(run.to_owned()))?;
            serde_json::from_str(&text)
                .map_err(|error| self.refused(format!("the summary of {run}: {error}")))
        })
    }

    fn groups<'a>(&'a self, query: &'a GroupQuery) -> Answer<'a, Vec<GroupStatistics>> {
        Box::pin(self.groups_of(query))
    }

    fn equity<'a>(
        &'a self,
        run: &'a str,
        account: Option<&'a str>,
        points_max: Option<usize>,
    ) -> Answer<'a, Vec<EquityPoint>> {
        Box::pin(self.equity_of(run, account, points_max))
    }

    fn orders<'a>(&'a self, run: &'a str, query: &'a RowQuery) -> Answer<'a, Page<Order>> {
        Box::pin(self.page(run, ORDERS, query, frame::orders))
    }

    fn fills<'a>(&'a self, run: &'a str, query: &'a RowQuery) -> Answer<'a, Page<Fill>> {
        Box::pin(self.page(run, FILLS, query, frame::fills))
    }

    fn trades<'a>(&'a self, run: &'a str, query: &'a RowQuery) -> Answer<'a, Page<Trade>> {
        Box::pin(self.page(run, TRADES, query, frame::trades))
    }
}
