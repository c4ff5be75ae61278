//! The questions.

use futures_util::future::BoxFuture;

use crate::{
    Comparison, EquityPoint, Fill, GroupQuery, GroupStatistics, Order, Page, ResultsError, RowQuery, Run,
    RunQuery, Trade,
};

/// An answer that comes later.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, ResultsError>>;

/// Results of many runs. All methods fail with [`ResultsError::Query`] where a question can't be asked so, and with
/// [`ResultsError::Missing`] where it names a run that there is not.
pub trait RunStore: Send + Sync {
    /// A page of runs.
    fn runs<'a>(&'a self, query: &'a RunQuery) -> Answer<'a, Page<Run>>;

    /// These runs, in this order.
    fn named<'a>(&'a self, names: &'a [String]) -> Answer<'a, Vec<Run>>;

    /// All of a run's `summary.json`.
    fn summary<'a>(&'a self, run: &'a str) -> Answer<'a, serde_json::Value>;

    /// How good the runs of groups were; sorted by the group's value, numbers as numbers.
    fn groups<'a>(&'a self, query: &'a GroupQuery) -> Answer<'a, Vec<GroupStatistics>>;

    /// An account's equity curve; the account may be left out where the run has one alone. With `points_max` a longer
    /// curve is thinned for a screen: time is cut into equal parts, and of each the first, the last, the lowest and the
    /// highest point stay (M4), so that no extreme is lost. At least 4.
    fn equity<'a>(
        &'a self,
        run: &'a str,
        account: Option<&'a str>,
        points_max: Option<usize>,
    ) -> Answer<'a, Vec<EquityPoint>>;

    /// A page of a run's orders.
    fn orders<'a>(&'a self, run: &'a str, query: &'a RowQuery) -> Answer<'a, Page<Order>>;

    /// A page of a run's fills.
    fn fills<'a>(&'a self, run: &'a str, query: &'a RowQuery) -> Answer<'a, Page<Fill>>;

    /// A page of a run's trades.
    fn trades<'a>(&'a self, run: &'a str, query: &'a RowQuery) -> Answer<'a, Page<Trade>>;

    /// A few runs side by side.
    fn compare<'a>(&'a self, names: &'a [String]) -> Answer<'a, Comparison> {
        Box::pin(async move { Ok(Comparison::of(self.named(names).await?)) })
    }
}

/// The account whose curve is asked for.
pub(crate) fn account_of<'a>(run: &'a Run, asked: Option<&'a str>) -> Result<&'a str, ResultsError> {
    let known = run.accounts.join(", ");
    match (asked, run.accounts.as_slice()) {
        (Some(asked), accounts) if accounts.iter().any(|account| account == asked) => Ok(asked),
        (Some(asked), _) => {
            Err(ResultsError::Query(format!("{} has no account {asked:?}: it has {known}", run.run)))
        }
        (None, [only]) => Ok(only),
        (None, _) => {
            Err(ResultsError::Query(format!("{} has several accounts: name one of {known}", run.run)))
        }
    }
}

/// The parts that a thinned curve is cut into, if it has to be: the start of the first, and the length of each in
/// nanoseconds.
pub(crate) fn parts(
    rows: u64,
    first: i64,
    last: i64,
    points_max: Option<usize>,
) -> Result<Option<(i64, i64)>, ResultsError> {
    let Some(points_max) = points_max else { return Ok(None) };
    if points_max < 4 {
        return Err(ResultsError::Query(format!(
            "a curve can't be thinned to {points_max} points: at least 4"
        )));
    }
    if rows <= points_max as u64 {
        return Ok(None);
    }
    let parts = (points_max / 4) as i128;
    let span = i128::from(last) - i128::from(first) + 1;
    let length = (span + parts - 1) / parts;
    Ok(Some((first, i64::try_from(length).unwrap_or(i64::MAX))))
}
