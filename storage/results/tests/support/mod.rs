//! Runs for the tests: real ones, made by the engine, and many that differ from a real one in their summaries.

#![allow(dead_code, reason = "each test uses a part")]

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use serde_json::{Value, json};
use tradeflow_backtest::config::from_toml;
use tradeflow_backtest::planning;
use tradeflow_backtest::run::{self, Driver};
use tradeflow_results::{ClickHouseRuns, ClickHouseUrl, ParquetRuns, UploadQueue};
use tradeflow_storage::catalog::Catalog;
use tradeflow_storage::sample::{self, SampleOptions};

/// A strategy's id that someone may think of.
pub const ODD: &str = "x'; DROP TABLE runs; -- \\ \" ` {p0:String} ? %27 \u{1f4a5}\nend";

/// Runs of the real engine: a sweep of two parameters, another strategy on another market, and a run of two accounts, one
/// of which has a strategy of an odd name.
pub struct Real {
    pub root: PathBuf,
    pub names: Vec<String>,
    _folder: tempfile::TempDir,
}

/// The real runs, made once. No test changes them.
pub fn real() -> &'static Real {
    static REAL: OnceLock<Real> = OnceLock::new();
    // On a thread without a runtime, as the catalog has its own.
    REAL.get_or_init(|| std::thread::spawn(make).join().unwrap())
}

fn make() -> Real {
    let folder = tempfile::tempdir().unwrap();
    let catalog = Catalog::open(folder.path().join("catalog").to_str().unwrap()).unwrap();
    let at = |text: &str| Some(text.parse().unwrap());
    let options = SampleOptions {
        seed: 1,
        from: at("2024-01-01"),
        to: at("2024-01-20"),
        symbols: vec!["SAMPLE-BTC".into(), "SAMPLE-FUT".into()],
        ticks: false,
    };
    sample::write(&catalog, &options).unwrap();
    let mut plans = Vec::new();
    for fast in [5, 10, 20] {
        for slow in [50, 100] {
            let params = format!("{{ fast = {fast}, slow = {slow} }}");
            plans.push(one("SAMPLE-BTC", "sma_cross", &params));
        }
    }
    plans.push(one("SAMPLE-FUT", "rsi_reversion", "{ length = 14, stop_loss_pct = 1.50 }"));
    plans.push(one("SAMPLE-FUT", "buy_and_hold", "{}"));
    plans.push(two_accounts());
    let root = folder.path().join("out");
    let names = plans.iter().map(|plan| ran(plan, &catalog, &root)).collect();
    Real { root, names, _folder: folder }
}

fn one(symbol: &str, kind: &str, params: &str) -> String {
    format!(
        "from = \"2024-01-03\"\nequity_interval = \"5m\"\n[data]\nsymbols = [\"{symbol}\"]\ninterval = \"1m\"\n\
         [execution]\nfee_bps = 1.5\n[[account]]\nbalance = \"250000.00\"\n[[account.strategy]]\nkind = \"{kind}\"\n\
         params = {params}\n"
    )
}

fn two_accounts() -> String {
    let odd = ODD.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!(
        "from = \"2024-01-03\"\nequity_interval = \"1h\"\n[data]\nsymbols = [\"SAMPLE-BTC\"]\ninterval = \"1m\"\n\
         [[account]]\nid = \"first\"\nbalance = 100000\n[[account.strategy]]\nkind = \"sma_cross\"\nsize = \"40%\"\n\
         params = {{ fast = 20, slow = 300 }}\n[[account.strategy]]\nid = \"{odd}\"\nkind = \"rsi_reversion\"\n\
         size = \"$5000\"\nparams = {{ length = 30 }}\n[[account]]\nid = \"second\"\nbalance = 50000\n\
         [[account.strategy]]\nkind = \"sma_cross\"\nparams = {{ fast = 10, slow = 200 }}\n"
    )
}

/// Runs a plan; the name of its folder.
fn ran(text: &str, catalog: &Catalog, out: &Path) -> String {
    let config = from_toml("run.toml", text).unwrap_or_else(|problems| panic!("{problems}\n{text}"));
    let plan = Arc::new(planning::plan(&config, catalog).unwrap().plan);
    std::fs::create_dir_all(out).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let summary = run::run(&plan, catalog, Driver::Reference, out, Box::new(|_| {}), &stop).unwrap().unwrap();
    Path::new(&summary.results).file_name().unwrap().to_str().unwrap().to_owned()
}

/// Copies a run's folder.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// A copy of all real runs that a test may change.
pub fn copied() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in &real().names {
        copy(&real().root.join(name), &folder.path().join(name));
    }
    folder
}

/// A run that there was never: the tables of a real one, its summary changed.
pub fn generated(root: &Path, name: &str, change: impl FnOnce(&mut Value)) {
    let (from, to) = (real().root.join(&real().names[0]), root.join(name));
    std::fs::create_dir_all(&to).unwrap();
    for table in ["equity", "orders", "fills", "trades"] {
        let file = format!("{table}.parquet");
        std::fs::hard_link(from.join(&file), to.join(&file)).unwrap();
    }
    let mut summary: Value =
        serde_json::from_str(&std::fs::read_to_string(from.join("summary.json")).unwrap()).unwrap();
    summary["config_digest"] = json!(blake3_like(name));
    change(&mut summary);
    std::fs::write(to.join("summary.json"), summary.to_string()).unwrap();
}

/// 64 hexadecimal digits that follow from a text.
fn blake3_like(text: &str) -> String {
    tradeflow_model::Digest::of(text.as_bytes()).to_string()
}

/// The summaries of all runs under a folder, as a JSON reader that knows nothing of us sees them.
pub fn summaries(root: &Path) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(root).unwrap() {
        let entry = entry.unwrap();
        if let Ok(text) = std::fs::read_to_string(entry.path().join("summary.json")) {
            all.push((entry.file_name().into_string().unwrap(), serde_json::from_str(&text).unwrap()));
        }
    }
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

/// Both stores over the same runs; the second is there after all were uploaded.
pub async fn both(root: &Path, url: &str) -> (ParquetRuns, ClickHouseRuns) {
    let url: ClickHouseUrl = url.parse().unwrap();
    let synced = UploadQueue::new(root, url.clone()).sync(|_, _| {}).await.unwrap();
    assert_eq!((synced.set_aside, synced.waiting), (vec![], vec![]));
    (ParquetRuns::new(root), ClickHouseRuns::open(&url).await.unwrap())
}
