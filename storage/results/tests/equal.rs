//! Whatever is asked, both stores answer the same: about runs with any figures, ties, figures that are missing.

mod clickhouse_server;
mod support;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use support::{both, copied, generated, real};
use tradeflow_results::{GroupBy, GroupQuery, Metric, ParquetRuns, RunFilter, RunQuery, RunStore, SortKey};

const RUNS: usize = 60;

/// A figure: often one of a few, so that there are ties; none; or any number.
fn figure() -> impl Strategy<Value = Value> {
    prop_oneof![
        2 => prop::sample::select(vec![json!(0.0), json!(-0.0), json!(1.5), json!(-2.25)]),
        1 => Just(Value::Null),
        2 => (-1e3..1e3_f64).prop_map(|number| json!(number)),
        1 => any::<f64>().prop_filter("a finite one", |number| number.is_finite()).prop_map(|number| json!(number)),
    ]
}

/// What is put into a summary: figures, parameters, symbols, time.
fn changes() -> impl Strategy<Value = Value> {
    let params = (1..4_u32, prop::sample::select(vec!["10", "10.0", "2", "a", "a=b", "", "1e3", "-5", "é"]));
    let symbols = prop::collection::vec(prop::sample::select(vec!["AAA", "BBB", "A'A", "SAMPLE-BTC"]), 1..3);
    (prop::collection::vec(figure(), 6), params, symbols, 0..4_u32, 0..1_000_u64).prop_map(
        |(figures, (fast, mode), mut symbols, second, trades)| {
            symbols.dedup();
            json!({
                "figures": figures, "fast": fast, "mode": mode, "symbols": symbols, "second": second, "trades": trades,
            })
        },
    )
}

fn apply(summary: &mut Value, change: &Value) {
    for (index, name) in ["sharpe", "sortino", "cagr", "volatility"].into_iter().enumerate() {
        summary["statistics"][name] = change["figures"][index].clone();
    }
    summary["total_return"] = change["figures"][4].clone();
    summary["max_drawdown"] = change["figures"][5].clone();
    summary["trades"] = change["trades"].clone();
    summary["symbols"] = change["symbols"].clone();
    summary["finished"] = format!("2024-05-01T00:00:0{}.123456789Z", change["second"]).into();
    let wins = change["trades"].as_u64().unwrap() / 2;
    summary["trade_statistics"]["count"] = change["trades"].clone();
    summary["trade_statistics"]["wins"] = wins.into();
    summary["accounts"][0]["strategies"] = json!([
        { "id": "one", "kind": "sma_cross", "params": { "fast": change["fast"], "mode": change["mode"] } },
        { "id": "two", "kind": "sma_cross", "params": { "fast": 7, "mode": "b", "nested": { "a": [1, null, "x"] } } },
    ]);
}

fn any_metric() -> impl Strategy<Value = Metric> {
    prop::sample::select(Metric::ALL.to_vec())
}

fn any_sort() -> impl Strategy<Value = SortKey> {
    prop_oneof![
        any_metric().prop_map(SortKey::Best),
        any_metric().prop_map(SortKey::Worst),
        Just(SortKey::Newest),
        Just(SortKey::Oldest),
    ]
}

fn any_filter() -> impl Strategy<Value = RunFilter> {
    let symbol = prop::option::weighted(0.3, prop::sample::select(vec!["AAA", "A'A", "none"]));
    let param = prop::collection::vec(
        prop::sample::select(vec![
            ("fast", "2"),
            ("fast", "7"),
            ("mode", "10"),
            ("mode", "a=b"),
            ("mode", ""),
            ("x", "1"),
        ]),
        0..2,
    );
    let time = prop::option::weighted(0.2, 0..5_i64);
    (symbol, param, time.clone(), time).prop_map(|(symbol, params, from, to)| {
        let at = |second: i64| {
            let start: tradeflow_model::Timestamp = "2024-05-01T00:00:00.123456789Z".parse().unwrap();
            start.checked_add(second * 1_000_000_000).unwrap()
        };
        RunFilter {
            symbol: symbol.map(str::to_owned),
            strategy: None,
            params: params.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            finished_from: from.map(at),
            finished_to: to.map(at),
        }
    })
}

#[test]
fn answers_about_runs_are_equal() {
    let Some(url) = clickhouse_server::database() else { return eprintln!("skipped: no ClickHouse") };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut made = TestRunner::deterministic();
    for number in 0..RUNS {
        let change = changes().new_tree(&mut made).unwrap().current();
        // Names in an order of their own, in several alphabets.
        let name = format!("{}run {}'{number}", ["b", "a", "É", "Z", "_"][number % 5], number * 7919 % 97);
        generated(folder.path(), &name, |summary| apply(summary, &change));
    }
    let (parquet, clickhouse) = runtime.block_on(both(folder.path(), &url));

    let pages = (any_filter(), any_sort(), 1..40_usize);
    TestRunner::new(ProptestConfig::with_cases(150))
        .run(&pages, |(filter, sort, limit)| {
            let mut query = RunQuery { filter, sort, limit, cursor: None };
            loop {
                let page = runtime.block_on(parquet.runs(&query)).unwrap();
                prop_assert_eq!(&runtime.block_on(clickhouse.runs(&query)).unwrap(), &page);
                query.cursor = page.next;
                if query.cursor.is_none() {
                    return Ok(());
                }
            }
        })
        .unwrap();

    let by = prop::sample::select(vec![
        GroupBy::Symbol,
        GroupBy::Strategy,
        GroupBy::Param("fast".into()),
        GroupBy::Param("mode".into()),
        GroupBy::Param("nested".into()),
        GroupBy::Param(String::new()),
    ]);
    TestRunner::new(ProptestConfig::with_cases(150))
        .run(&(any_filter(), by, any_metric()), |(filter, by, metric)| {
            let query = GroupQuery { filter, by, metric };
            let groups = runtime.block_on(parquet.groups(&query)).unwrap();
            prop_assert_eq!(runtime.block_on(clickhouse.groups(&query)).unwrap(), groups);
            Ok(())
        })
        .unwrap();
}

#[test]
fn thinned_curves_are_equal() {
    let Some(url) = clickhouse_server::database() else { return eprintln!("skipped: no ClickHouse") };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let folder = copied();
    let (parquet, clickhouse) = runtime.block_on(both(folder.path(), &url));
    let which = (0..real().names.len(), 4..5_000_usize);
    TestRunner::new(ProptestConfig::with_cases(60))
        .run(&which, |(run, points)| {
            let run = &real().names[run];
            let accounts = &runtime.block_on(parquet.named(std::slice::from_ref(run))).unwrap()[0].accounts;
            for account in accounts {
                let thin = runtime.block_on(parquet.equity(run, Some(account), Some(points))).unwrap();
                prop_assert_eq!(
                    &runtime.block_on(clickhouse.equity(run, Some(account), Some(points))).unwrap(),
                    &thin
                );
            }
            Ok(())
        })
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_index_is_never_older_than_the_folders() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let set = |name: &str, sharpe: f64| {
        let _ = std::fs::remove_dir_all(root.join(name));
        generated(root, name, |summary| summary["statistics"]["sharpe"] = sharpe.into());
    };
    let best = RunQuery { sort: SortKey::Best(Metric::Sharpe), ..RunQuery::default() };
    let told = async |runs: &ParquetRuns| {
        let rows = runs.runs(&best).await.unwrap().rows;
        rows.iter().map(|run| (run.run.clone(), run.sharpe.unwrap())).collect::<Vec<_>>()
    };
    let open = ParquetRuns::new(root);
    assert_eq!(told(&open).await, []);
    set("a", 1.0);
    set("b", 2.0);
    let expected = vec![("b".to_owned(), 2.0), ("a".to_owned(), 1.0)];
    // One that is open, one that reads the index from the disk.
    assert_eq!((told(&open).await, told(&ParquetRuns::new(root)).await), (expected.clone(), expected));
    // Replaced at once, by one of the same length.
    set("a", 3.0);
    let expected = vec![("a".to_owned(), 3.0), ("b".to_owned(), 2.0)];
    assert_eq!((told(&open).await, told(&ParquetRuns::new(root)).await), (expected.clone(), expected));
    // Changed in its place, removed, renamed, added.
    let summary = root.join("a/summary.json");
    let text = std::fs::read_to_string(&summary).unwrap().replace("\"sharpe\":3.0", "\"sharpe\":4.0");
    std::fs::write(&summary, text).unwrap();
    std::fs::rename(root.join("b"), root.join("c")).unwrap();
    set("d", 0.5);
    let expected = vec![("a".to_owned(), 4.0), ("c".to_owned(), 2.0), ("d".to_owned(), 0.5)];
    assert_eq!((told(&open).await, told(&ParquetRuns::new(root)).await), (expected.clone(), expected));
    std::fs::remove_dir_all(root.join("a")).unwrap();
    std::fs::remove_dir_all(root.join("c")).unwrap();
    let expected = vec![("d".to_owned(), 0.5)];
    assert_eq!(
        (told(&open).await, told(&ParquetRuns::new(root)).await),
        (expected.clone(), expected.clone())
    );
    // An index that is damaged, or of something else, is made anew.
    for bytes in [&b"PAR1 noise PAR1"[..], b"", &std::fs::read(root.join("d/fills.parquet")).unwrap()] {
        std::fs::write(root.join(".runs-1.parquet"), bytes).unwrap();
        assert_eq!(told(&ParquetRuns::new(root)).await, expected);
    }
}
