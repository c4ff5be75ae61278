//! The metrics page, byte for byte: `tests/metrics.txt` beside it is also read by a stock parser, in
//! `tests/python/test_metrics.py`.

mod kit;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use kit::{get, node, serve};

#[test]
fn the_page_is_the_one_that_is_kept() {
    let node = Arc::new(node());
    let server = serve(&node);
    let (code, head, page) = get(&server, "/metrics");
    assert_eq!(code, 200);
    let kind = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert!(head.contains(kind), "{head}");
    let path = Path::new("tests/metrics.txt");
    if std::env::var_os("TRADEFLOW_WRITE_METRICS").is_some() {
        std::fs::write(path, &page).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        page == kept,
        "{} is another page; if that is meant, set TRADEFLOW_WRITE_METRICS=1 and look at the difference",
        path.display()
    );
    // Nothing was measured since: the histograms stand still, and a second look sees the same.
    assert_eq!(get(&server, "/metrics").2, kept);
}

#[test]
fn what_operators_need_is_there_with_its_type() {
    let node = Arc::new(node());
    let server = serve(&node);
    let page = get(&server, "/metrics").2;
    let types: BTreeMap<&str, &str> =
        page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    for (name, kind) in [
        ("feed_state", "gauge"),
        ("feed_lag_seconds", "gauge"),
        ("feed_shed", "counter"),
        ("feed_reconnects", "counter"),
        ("bus_lag_records", "gauge"),
        ("cell_mailbox_messages", "gauge"),
        ("cell_pending_rows", "gauge"),
        ("decision_latency_seconds", "histogram"),
        ("fill_latency_seconds", "histogram"),
        ("journal_write_seconds", "histogram"),
        ("cell_snapshot_seconds", "gauge"),
        ("cell_recovery_seconds", "gauge"),
        ("orders", "counter"),
        ("fills", "counter"),
        ("denials", "counter"),
        ("rejections", "counter"),
        ("recorder_lag_seconds", "gauge"),
        ("bars_made", "counter"),
        ("results_waiting", "gauge"),
        ("results_set_aside", "gauge"),
        ("results_failing", "gauge"),
    ] {
        assert_eq!(types.get(format!("tradeflow_{name}").as_str()), Some(&kind), "{name}");
    }
    let value = |sample: &str| {
        let line = page.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{sample} is missing in\n{page}")).to_owned()
    };
    assert_eq!(value(r#"tradeflow_denials_total{account="alpha",reason="order_notional_max"}"#), "2");
    assert_eq!(value(r#"tradeflow_denials_total{account="alpha",reason="size-rounds-to-zero"}"#), "1");
    assert_eq!(value(r#"tradeflow_decision_latency_seconds_bucket{le="0.0002"}"#), "4");
    assert_eq!(value(r#"tradeflow_decision_latency_seconds_bucket{le="+Inf"}"#), "5");
    assert_eq!(value(r#"tradeflow_feed_lag_seconds{feed="binance"}"#), "0.25");
    assert_eq!(value(r#"tradeflow_health{state="ok"}"#), "1.0");
    assert_eq!(value(r#"tradeflow_cell_equity{account="beta",currency="USD"}"#), "100250.5");
    assert_eq!(value("tradeflow_results_waiting"), "2.0");
    // New measurements go on from the old ones.
    node.cells[0].note_decision(3_000, 1);
    let page = get(&server, "/metrics").2;
    assert!(page.contains("tradeflow_decision_latency_seconds_count 6\n"), "{page}");
}
