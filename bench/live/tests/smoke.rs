//! The benchmark runs from end to end with tiny numbers, and says what it should. Nothing here depends on how fast.

use std::process::Command;

use serde_json::Value;

#[test]
fn every_part_runs_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("live.json");
    let output = Command::new(env!("CARGO_BIN_EXE_live-bench"))
        .arg("--out")
        .arg(&out)
        .args(["all", "--smoke"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&std::fs::read(out).unwrap()).unwrap();
    let number = |path: &str| {
        let value = report.pointer(path).and_then(Value::as_f64);
        value.unwrap_or_else(|| panic!("no {path} in {report:#}"))
    };
    for part in ["latency", "latency_power", "throughput", "memory"] {
        let at = |field: &str| number(&format!("/{part}/{field}"));
        assert!(at("sent") > 0.0 && at("handled") == at("expected"), "{part}: {report:#}");
        for count in ["shed", "late", "bad", "duplicates", "pending"] {
            assert_eq!(at(&format!("counts/{count}")), 0.0, "{part}: {count}");
        }
        assert_eq!(at("counts/received"), at("sent"), "{part}");
        assert!(at("fills") > 0.0 && at("fill/count") == at("fills"), "{part}: {report:#}");
        assert!(at("decision/count") > 0.0 && at("due_to_received/count") > 0.0, "{part}");
        assert!(at("rss_mib_max") > 0.0);
    }
    for part in ["publish", "publish_batch", "journal"] {
        assert!(number(&format!("/ratios/{part}/ratio")) > 0.0);
    }
    for part in ["usual", "worst"] {
        assert!(number(&format!("/recovery/{part}/inputs")) >= 2_000.0);
        assert!(number(&format!("/recovery/{part}/entries")) > 0.0, "{part}: {report:#}");
        assert!(number(&format!("/recovery/{part}/total_ms")) > 0.0);
    }
}
