//! One suite on Parquet and on ClickHouse. What is expected is read from the result folders with other readers, or is
//! known from how the runs were made.

mod clickhouse_server;
mod support;

use std::collections::BTreeMap;
use std::fs::File;

use rust_decimal::Decimal;
use serde_json::Value;
use support::{ODD, real, summaries};
use tradeflow_results::{
    ClickHouseRuns, GroupBy, GroupQuery, Metric, Page, ParquetRuns, ResultsError, RowQuery, RunFilter,
    RunQuery, RunStore, SortKey, Utc,
};

type Store = Box<dyn RunStore>;

async fn parquet() -> Option<Store> {
    Some(Box::new(ParquetRuns::new(&real().root)))
}

/// ClickHouse with the real runs in it.
async fn clickhouse() -> Option<Store> {
    let url: tradeflow_results::ClickHouseUrl = clickhouse_server::database()?.parse().unwrap();
    let store = ClickHouseRuns::open(&url).await.unwrap();
    for name in &real().names {
        store.upload(&real().root.join(name), name).await.unwrap();
    }
    Some(Box::new(store))
}

macro_rules! suite {
    ($($test:ident),* $(,)?) => {
        mod on_parquet { $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $test() { super::$test(super::parquet().await.unwrap()).await }
        )* }
        mod on_clickhouse { $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                let Some(store) = super::clickhouse().await else { return eprintln!("skipped: no ClickHouse") };
                super::$test(store).await
            }
        )* }
    };
}

suite!(
    runs_are_sorted_by_any_metric,
    runs_are_filtered_by_symbol_strategy_parameter_and_time,
    pages_join_to_the_whole,
    a_run_says_what_its_summary_says,
    groups_are_told_by_parameter_symbol_and_strategy,
    tables_are_those_of_the_files,
    rows_are_filtered_by_account_and_symbol,
    a_curve_is_thinned_and_keeps_its_extremes,
    runs_are_compared,
    odd_texts_stay_texts,
    what_is_not_there_or_makes_no_sense_is_an_error,
);

fn names(rows: &[tradeflow_results::Run]) -> Vec<&str> {
    rows.iter().map(|run| run.run.as_str()).collect()
}

/// A metric of a summary.
fn metric(summary: &Value, metric: Metric) -> Option<f64> {
    match metric {
        Metric::TotalReturn | Metric::MaxDrawdown | Metric::Trades => summary[metric.name()].as_f64(),
        Metric::WinRate => {
            let trades = &summary["trade_statistics"];
            Some(trades["wins"].as_f64()? / trades["count"].as_f64().filter(|count| *count > 0.0)?)
        }
        Metric::ProfitFactor => {
            let trades = &summary["trade_statistics"];
            Some(
                trades["gross_profit"].as_f64()?
                    / trades["gross_loss"].as_f64().filter(|loss| *loss > 0.0)?,
            )
        }
        other => summary["statistics"][other.name()].as_f64(),
    }
}

async fn runs_are_sorted_by_any_metric(store: Store) {
    let all = summaries(&real().root);
    assert_eq!(all.len(), real().names.len());
    for by in Metric::ALL {
        let mut expected: Vec<_> =
            all.iter().map(|(name, summary)| (metric(summary, by), name.as_str())).collect();
        expected.sort_by(|(a, x), (b, y)| match (a, b) {
            (Some(a), Some(b)) => {
                if by.more_is_better() { b.total_cmp(a) } else { a.total_cmp(b) }.then(x.cmp(y))
            }
            (a, b) => b.is_some().cmp(&a.is_some()).then(x.cmp(y)),
        });
        let query = RunQuery { sort: SortKey::Best(by), ..RunQuery::default() };
        let page = store.runs(&query).await.unwrap();
        assert_eq!(names(&page.rows), expected.iter().map(|(_, name)| *name).collect::<Vec<_>>(), "{by}");
        assert_eq!(page.next, None);
        for (run, (value, _)) in page.rows.iter().zip(&expected) {
            match (run.metric(by), value) {
                (Some(told), Some(value)) => assert!((told - value).abs() <= value.abs() * 1e-14, "{by}"),
                (told, value) => assert_eq!(told, *value, "{by}"),
            }
        }
        let worst = RunQuery { sort: SortKey::Worst(by), limit: 1, ..RunQuery::default() };
        let last = expected.iter().filter(|(value, _)| value.is_some()).map(|(value, _)| *value).next_back();
        let worst = store.runs(&worst).await.unwrap().rows.remove(0).metric(by);
        assert!((worst.unwrap() - last.unwrap().unwrap()).abs() < 1e-12, "{by}");
    }
}

async fn runs_are_filtered_by_symbol_strategy_parameter_and_time(store: Store) {
    let found = async |filter: RunFilter| {
        let query = RunQuery { filter, sort: SortKey::Oldest, ..RunQuery::default() };
        store.runs(&query).await.unwrap().rows
    };
    let param = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let fx = found(RunFilter { symbol: Some("SAMPLE-FUT".into()), ..Default::default() }).await;
    assert_eq!(fx.len(), 2);
    assert!(fx.iter().all(|run| run.symbols == ["SAMPLE-FUT"]));
    assert_eq!(found(RunFilter { symbol: Some("SAMPLE".into()), ..Default::default() }).await.len(), 0);
    let cross = found(RunFilter { strategy: Some("sma_cross".into()), ..Default::default() }).await;
    assert_eq!(cross.len(), 7);
    // A number is a number, however it is written: 10, 10.0; the plan says 1.50.
    for ten in ["10", "10.0", "010"] {
        let params = vec![param("fast", ten)];
        assert_eq!(found(RunFilter { params, ..Default::default() }).await.len(), 3, "{ten}");
    }
    let params = vec![param("stop_loss_pct", "1.5")];
    assert_eq!(found(RunFilter { params, ..Default::default() }).await.len(), 1);
    let params = vec![param("fast", "10"), param("slow", "50")];
    let one = found(RunFilter { params, symbol: Some("SAMPLE-BTC".into()), ..Default::default() }).await;
    assert_eq!(one.len(), 1);
    assert_eq!(one[0].strategies[0].params["fast"].to_string(), "10");
    // From is inclusive, to is not.
    let all = found(RunFilter::default()).await;
    assert!(all.windows(2).all(|pair| pair[0].finished <= pair[1].finished));
    let (from, to) = (all[2].finished.0, all[5].finished.0);
    let within =
        found(RunFilter { finished_from: Some(from), finished_to: Some(to), ..Default::default() }).await;
    assert_eq!(names(&within), names(&all[2..5]));
}

async fn pages_join_to_the_whole(store: Store) {
    for sort in [
        SortKey::Best(Metric::Sharpe),
        SortKey::Worst(Metric::ProfitFactor),
        SortKey::Best(Metric::MaxDrawdown),
        SortKey::Best(Metric::Trades),
        SortKey::Newest,
        SortKey::Oldest,
    ] {
        let whole = store.runs(&RunQuery { sort, ..RunQuery::default() }).await.unwrap().rows;
        let mut joined = Vec::new();
        let mut query = RunQuery { sort, limit: 2, ..RunQuery::default() };
        loop {
            let page = store.runs(&query).await.unwrap();
            assert!(page.rows.len() == 2 || page.next.is_none());
            joined.extend(page.rows);
            query.cursor = page.next;
            if query.cursor.is_none() {
                break;
            }
        }
        assert_eq!(joined, whole, "{sort:?}");
    }
}

async fn a_run_says_what_its_summary_says(store: Store) {
    let rows = store.named(&real().names).await.unwrap();
    assert_eq!(names(&rows), real().names);
    for run in &rows {
        let text = std::fs::read_to_string(real().root.join(&run.run).join("summary.json")).unwrap();
        let summary: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(store.summary(&run.run).await.unwrap(), summary);
        for (told, name) in [
            (&run.digest, "digest"),
            (&run.config_digest, "config_digest"),
            (&run.data_digest, "data_digest"),
            (&run.version, "version"),
        ] {
            assert_eq!(told.as_str(), summary[name].as_str().unwrap());
        }
        assert_eq!(run.currency.as_deref(), summary["currency"].as_str());
        let counts =
            [(run.bars, "bars"), (run.orders, "orders"), (run.fills, "fills"), (run.trades, "trades")];
        for (told, name) in counts {
            assert_eq!(told, summary[name].as_u64().unwrap(), "{name}");
        }
        assert_eq!(run.finished.to_string(), summary["finished"].as_str().unwrap());
        assert_eq!(run.from.to_string(), summary["from"].as_str().unwrap());
        // To the last digit that stands in the file.
        for (told, name) in
            [(run.final_equity, "final_equity"), (run.fees, "fees"), (run.initial_equity, "initial_equity")]
        {
            let line =
                text.lines().find(|line| line.trim_start().starts_with(&format!("\"{name}\":"))).unwrap();
            let written: Decimal =
                line.split_once(':').unwrap().1.trim().trim_end_matches(',').parse().unwrap();
            assert_eq!(told, written, "{name}");
        }
    }
}

async fn groups_are_told_by_parameter_symbol_and_strategy(store: Store) {
    let all = summaries(&real().root);
    let sharpe_of = |pick: &dyn Fn(&Value) -> Vec<String>| {
        let mut groups: BTreeMap<String, Vec<(f64, String)>> = BTreeMap::new();
        for (name, summary) in &all {
            for value in pick(summary) {
                let Some(sharpe) = metric(summary, Metric::Sharpe) else { continue };
                groups.entry(value).or_default().push((sharpe, name.clone()));
            }
        }
        groups
    };
    let strategies = |summary: &Value| -> Vec<Value> {
        let accounts = summary["accounts"].as_array().unwrap().iter();
        accounts.flat_map(|account| account["strategies"].as_array().unwrap().clone()).collect()
    };
    let distinct = |mut values: Vec<String>| {
        values.sort();
        values.dedup();
        values
    };
    let by_fast = sharpe_of(&|summary| {
        let fast =
            strategies(summary).iter().filter_map(|s| Some(s["params"].get("fast")?.to_string())).collect();
        distinct(fast)
    });
    let by_kind = sharpe_of(&|summary| {
        distinct(strategies(summary).iter().map(|s| s["kind"].as_str().unwrap().to_owned()).collect())
    });
    let by_symbol = sharpe_of(&|summary| vec![summary["symbols"][0].as_str().unwrap().to_owned()]);
    assert_eq!(by_fast.keys().collect::<Vec<_>>(), ["10", "20", "5"]);
    for (by, expected) in
        [(GroupBy::Param("fast".into()), by_fast), (GroupBy::Strategy, by_kind), (GroupBy::Symbol, by_symbol)]
    {
        let query = GroupQuery { filter: RunFilter::default(), by: by.clone(), metric: Metric::Sharpe };
        let groups = store.groups(&query).await.unwrap();
        assert_eq!(groups.len(), expected.len());
        if by == GroupBy::Param("fast".into()) {
            let values: Vec<_> = groups.iter().map(|group| group.value.as_str()).collect();
            assert_eq!(values, ["5", "10", "20"], "numbers in the order of numbers");
        }
        for group in groups {
            let mut runs = expected[&group.value].clone();
            runs.sort_by(|a, b| a.0.total_cmp(&b.0));
            let near = |told: Option<f64>, value: f64| assert!((told.unwrap() - value).abs() < 1e-12);
            assert_eq!(group.runs, runs.len() as u64);
            near(group.best, runs.last().unwrap().0);
            near(group.worst, runs[0].0);
            near(group.median, runs[(runs.len() - 1) / 2].0);
            assert_eq!(group.best_run.as_ref(), Some(&runs.last().unwrap().1));
        }
    }
    let drawdown =
        GroupQuery { filter: RunFilter::default(), by: GroupBy::Symbol, metric: Metric::MaxDrawdown };
    let group = store.groups(&drawdown).await.unwrap().remove(0);
    assert!(group.best < group.worst, "of a drawdown less is better: {group:?}");
}

/// The rows of a file by another reader: column names and values as text.
fn rows_of(run: &str, table: &str) -> Vec<BTreeMap<String, String>> {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    let file = File::open(real().root.join(run).join(format!("{table}.parquet"))).unwrap();
    let reader = SerializedFileReader::new(file).unwrap();
    let rows = reader.get_row_iter(None).unwrap();
    rows.map(|row| {
        row.unwrap().get_column_iter().map(|(name, field)| (name.clone(), text_of(field))).collect()
    })
    .collect()
}

fn text_of(field: &parquet::record::Field) -> String {
    use parquet::record::Field;
    match field {
        Field::Str(text) => text.clone(),
        Field::Long(number) => number.to_string(),
        Field::Bool(value) => value.to_string(),
        Field::Null => String::new(),
        Field::Decimal(decimal) => {
            let bytes: [u8; 8] = decimal.data().try_into().unwrap();
            let raw = i64::from_be_bytes(bytes);
            Decimal::new(raw, decimal.scale() as u32).normalize().to_string()
        }
        other => format!("{other:?}"),
    }
}

fn opt<T: ToString>(value: Option<T>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

fn nanos(time: Utc) -> String {
    time.0.as_nanos().to_string()
}

/// All rows, page by page.
async fn all<T>(ask: impl AsyncFn(RowQuery) -> Page<T>, limit: usize) -> Vec<T> {
    let mut rows = Vec::new();
    let mut query = RowQuery { limit, ..RowQuery::default() };
    loop {
        let page = ask(query.clone()).await;
        assert!(page.rows.len() == limit || page.next.is_none());
        rows.extend(page.rows);
        query.cursor = page.next;
        if query.cursor.is_none() {
            return rows;
        }
    }
}

async fn tables_are_those_of_the_files(store: Store) {
    let mut rows = 0;
    for run in &real().names {
        let fills = all(async |query| store.fills(run, &query).await.unwrap(), 10_000).await;
        let expected = rows_of(run, "fills");
        assert_eq!(fills.len(), expected.len());
        for (fill, file) in fills.iter().zip(&expected) {
            for (told, name) in [
                (fill.account.clone(), "account"),
                (fill.order_id.to_string(), "order_id"),
                (opt(fill.strategy.clone()), "strategy"),
                (fill.symbol.clone(), "symbol"),
                (fill.side.clone(), "side"),
                (fill.price.to_string(), "price"),
                (fill.quantity.to_string(), "quantity"),
                (fill.fee.to_string(), "fee"),
                (fill.liquidity.clone(), "liquidity"),
            ] {
                assert_eq!(told, file[name], "{name} of a fill");
            }
            assert_eq!((nanos(fill.ts), nanos(fill.ts_init)), (file["ts"].clone(), file["ts_init"].clone()));
        }
        let orders = all(async |query| store.orders(run, &query).await.unwrap(), 10_000).await;
        let expected = rows_of(run, "orders");
        assert_eq!(orders.len(), expected.len());
        for (order, file) in orders.iter().zip(&expected) {
            for (told, name) in [
                (order.order_id.to_string(), "order_id"),
                (order.kind.clone(), "type"),
                (order.status.clone(), "status"),
                (opt(order.limit_price), "limit_price"),
                (opt(order.trigger), "trigger"),
                (opt(order.average_price), "average_price"),
                (opt(order.parent_id), "parent_id"),
                (opt(order.reason.clone()), "reason"),
                (order.reduce_only.to_string(), "reduce_only"),
                (order.filled.to_string(), "filled"),
            ] {
                assert_eq!(told, file[name], "{name} of an order");
            }
            assert!(order.ts_submitted <= order.ts_closed);
        }
        let trades = all(async |query| store.trades(run, &query).await.unwrap(), 10_000).await;
        let expected = rows_of(run, "trades");
        assert_eq!(trades.len(), expected.len());
        for (trade, file) in trades.iter().zip(&expected) {
            for (told, name) in [
                (trade.trade_id.to_string(), "trade_id"),
                (trade.entry_price.to_string(), "entry_price"),
                (opt(trade.exit_price), "exit_price"),
                (opt(trade.pnl), "pnl"),
                (opt(trade.pnl_net), "pnl_net"),
                (trade.fees.to_string(), "fees"),
                (trade.open.to_string(), "open"),
            ] {
                assert_eq!(told, file[name], "{name} of a trade");
            }
        }
        rows += fills.len() + orders.len() + trades.len();
    }
    // And in small pages.
    let run = &real().names[0];
    let few = all(async |query| store.trades(run, &query).await.unwrap(), 7).await;
    assert_eq!(few, all(async |query| store.trades(run, &query).await.unwrap(), 10_000).await);
    assert!(rows > 1_000, "the runs did something: {rows}");
}

async fn rows_are_filtered_by_account_and_symbol(store: Store) {
    let run = real().names.last().unwrap();
    let whole = store.orders(run, &RowQuery { limit: 10_000, ..RowQuery::default() }).await.unwrap().rows;
    let of =
        |account: &str| whole.iter().filter(|order| order.account == account).cloned().collect::<Vec<_>>();
    for account in ["first", "second"] {
        let query = RowQuery { account: Some(account.into()), limit: 10_000, ..RowQuery::default() };
        let found = store.orders(run, &query).await.unwrap().rows;
        assert!(!found.is_empty());
        assert_eq!(found, of(account));
        let paged = all(
            async |query| {
                store.orders(run, &RowQuery { account: Some(account.into()), ..query }).await.unwrap()
            },
            100,
        )
        .await;
        assert_eq!(paged, of(account));
    }
    let other = RowQuery { symbol: Some("SAMPLE-FUT".into()), ..RowQuery::default() };
    assert_eq!(store.orders(run, &other).await.unwrap().rows, []);
}

async fn a_curve_is_thinned_and_keeps_its_extremes(store: Store) {
    let run = &real().names[0];
    let curve = store.equity(run, None, None).await.unwrap();
    let file = rows_of(run, "equity");
    assert_eq!(curve.len(), file.len());
    assert!(curve.len() > 1_000);
    for (point, row) in curve.iter().zip(&file) {
        assert_eq!(
            (point.cash.to_string(), point.equity.to_string()),
            (row["cash"].clone(), row["equity"].clone())
        );
    }
    let extremes = |points: &[tradeflow_results::EquityPoint]| {
        let equity = points.iter().map(|point| point.equity);
        (equity.clone().min(), equity.max())
    };
    for points_max in [4, 10, 100, 1_000] {
        let thin = store.equity(run, None, Some(points_max)).await.unwrap();
        assert!((2..=points_max).contains(&thin.len()), "{} points of {points_max}", thin.len());
        assert_eq!((thin.first(), thin.last()), (curve.first(), curve.last()));
        assert_eq!(extremes(&thin), extremes(&curve));
        // Each is a point of the curve, in order.
        let mut rest = curve.iter();
        assert!(thin.iter().all(|point| rest.any(|other| other == point)));
    }
    assert_eq!(store.equity(run, None, Some(1_000_000)).await.unwrap(), curve);
    // Of several accounts one must be named.
    let run = real().names.last().unwrap();
    let both = rows_of(run, "equity");
    for account in ["first", "second"] {
        let own = store.equity(run, Some(account), None).await.unwrap();
        assert_eq!(own.len(), both.iter().filter(|row| row["account"] == account).count());
        assert!(own.windows(2).all(|pair| pair[0].ts <= pair[1].ts));
    }
    let error = store.equity(run, None, None).await.unwrap_err().to_string();
    assert!(error.contains("first, second"), "{error}");
}

async fn runs_are_compared(store: Store) {
    let names = vec![real().names[3].clone(), real().names[0].clone()];
    let comparison = store.compare(&names).await.unwrap();
    assert_eq!(comparison.runs.iter().map(|run| run.run.clone()).collect::<Vec<_>>(), names);
    let settings: Vec<_> = comparison.differences.iter().map(|d| d.setting.as_str()).collect();
    assert_eq!(settings, ["sma_cross: fast", "sma_cross: slow"]);
    let values: Vec<_> = comparison.differences.iter().map(|d| d.values.clone()).collect();
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(values, [[some("10"), some("5")], [some("100"), some("50")]]);
}

async fn odd_texts_stay_texts(store: Store) {
    let run = real().names.last().unwrap();
    let rows = store.named(std::slice::from_ref(run)).await.unwrap();
    assert!(rows[0].strategies.iter().any(|strategy| strategy.id == ODD));
    let orders = store.orders(run, &RowQuery { limit: 10_000, ..RowQuery::default() }).await.unwrap().rows;
    assert!(orders.iter().any(|order| order.strategy.as_deref() == Some(ODD)));
    for text in [ODD, "'", "\\", "\\'", "' OR 1 = 1 --", "{p0:String}", "?", "\t\n\0", "%", "_"] {
        let param = vec![(text.to_owned(), text.to_owned())];
        for filter in [
            RunFilter { symbol: Some(text.into()), ..Default::default() },
            RunFilter { strategy: Some(text.into()), ..Default::default() },
            RunFilter { params: param, ..Default::default() },
        ] {
            let query = RunQuery { filter: filter.clone(), ..RunQuery::default() };
            assert_eq!(store.runs(&query).await.unwrap().rows, [], "{text:?}");
            let groups = GroupQuery { filter, by: GroupBy::Param(text.into()), metric: Metric::Sharpe };
            assert_eq!(store.groups(&groups).await.unwrap(), []);
        }
        let rows = RowQuery { account: Some(text.into()), symbol: Some(text.into()), ..RowQuery::default() };
        assert_eq!(store.fills(run, &rows).await.unwrap().rows, []);
        assert!(matches!(store.summary(text).await, Err(ResultsError::Missing(_))), "{text:?}");
        let cursor = Some(format!("-.{text}"));
        let query = RunQuery { sort: SortKey::Best(Metric::Sharpe), cursor, ..RunQuery::default() };
        store.runs(&query).await.unwrap();
    }
    // All is still there.
    assert_eq!(store.runs(&RunQuery::default()).await.unwrap().rows.len(), real().names.len());
}

async fn what_is_not_there_or_makes_no_sense_is_an_error(store: Store) {
    for name in ["none", "", ".", "..", "../out", "/", "a/b"] {
        let names = vec![real().names[0].clone(), name.to_owned()];
        assert!(matches!(store.named(&names).await, Err(ResultsError::Missing(_))), "{name}");
        assert!(matches!(store.summary(name).await, Err(ResultsError::Missing(_))), "{name}");
        assert!(matches!(store.equity(name, None, None).await, Err(ResultsError::Missing(_))), "{name}");
        assert!(
            matches!(store.fills(name, &RowQuery::default()).await, Err(ResultsError::Missing(_))),
            "{name}"
        );
    }
    let run = &real().names[0];
    let query = async |query: RunQuery| store.runs(&query).await.map(|_| ());
    for wrong in [
        query(RunQuery { limit: 0, ..RunQuery::default() }).await,
        query(RunQuery { limit: 10_001, ..RunQuery::default() }).await,
        query(RunQuery { cursor: Some("x".into()), ..RunQuery::default() }).await,
        query(RunQuery {
            sort: SortKey::Best(Metric::Sharpe),
            cursor: Some(format!("{:016x}.a", f64::NAN.to_bits())),
            ..RunQuery::default()
        })
        .await,
        store.trades(run, &RowQuery { cursor: Some("-1".into()), ..RowQuery::default() }).await.map(|_| ()),
        store.equity(run, None, Some(3)).await.map(|_| ()),
        store.equity(run, Some("nobody"), None).await.map(|_| ()),
    ] {
        assert!(matches!(wrong, Err(ResultsError::Query(_))), "{wrong:?}");
    }
    let far = RowQuery { cursor: Some(u64::MAX.to_string()), ..RowQuery::default() };
    assert_eq!(store.trades(run, &far).await.unwrap().rows, []);
}
