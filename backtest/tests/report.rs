//! The report of a real run: well-formed, complete, in agreement with `summary.json`, harmless, and enough to repeat the run.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tradeflow_backtest::config::from_toml;
use tradeflow_backtest::planning;
use tradeflow_backtest::results::format::{money, percent, whole};
use tradeflow_backtest::results::{Summary, report};
use tradeflow_backtest::run::{self, Driver};
use tradeflow_model::plan::RunPlan;
use tradeflow_storage::catalog::Catalog;
use tradeflow_storage::sample::{self, SampleOptions};

const HOSTILE: &str = "<script>alert('\"&')</script>";

const RUN: &str = r#"
from = "2024-01-03"
to = "2024-01-20"
seed = 7
equity_interval = "5m"
[data]
symbols = ["SAMPLE-BTC"]
interval = "1m"
[execution]
fee_bps = 1.50
slippage = "0.5bps"
[[account]]
id = "first"
balance = "250000.00"
leverage = 2
[account.risk]
order_notional_max = 1000000
open_orders_max = 5
[[account.strategy]]
kind = "sma_cross"
size = "40%"
params = { fast = 20, slow = 100 }
[[account.strategy]]
id = "<script>alert('\u0022&')</script>"
kind = "rsi_reversion"
size = "$5000"
params = { length = 30, stop_loss_pct = 1.5 }
[[account]]
id = "second"
kind = "cash"
[account.execution]
fill = "next-open"
limit_fill = "touch"
slippage = "spread:0.5"
[[account.strategy]]
kind = "buy_and_hold"
size = "0.5"
"#;

struct Ran {
    plan: Arc<RunPlan>,
    summary: Summary,
    json: serde_json::Value,
    html: String,
}

fn catalog(folder: &Path) -> Catalog {
    let place: PathBuf = folder.join("catalog");
    let catalog = Catalog::open(place.to_str().unwrap()).unwrap();
    let at = |text: &str| Some(text.parse().unwrap());
    let options = SampleOptions {
        seed: 1,
        from: at("2024-01-01"),
        to: at("2024-01-25"),
        symbols: vec!["SAMPLE-BTC".into()],
        ticks: false,
    };
    sample::write(&catalog, &options).unwrap();
    catalog
}

fn ran(text: &str, stop: bool) -> Ran {
    let folder = tempfile::tempdir().unwrap();
    let catalog = catalog(folder.path());
    let config = from_toml("run.toml", text).unwrap();
    let plan = Arc::new(planning::plan(&config, &catalog).unwrap().plan);
    let out = folder.path().join("out");
    std::fs::create_dir_all(&out).unwrap();
    let stop = Arc::new(AtomicBool::new(stop));
    let summary =
        run::run(&plan, &catalog, Driver::Reference, &out, Box::new(|_| {}), &stop).unwrap().unwrap();
    let read = |name: &str| std::fs::read_to_string(Path::new(&summary.results).join(name)).unwrap();
    let (json, html) = (serde_json::from_str(&read("summary.json")).unwrap(), read("report.html"));

    // The TOML on the page leads to the same plan, to the last digit.
    let toml = unescaped(element(&html, "<pre id=\"run-toml\">", "</pre>"));
    let again = from_toml("report.toml", &toml).unwrap_or_else(|problems| panic!("{problems}\n{toml}"));
    let again = planning::plan(&again, &catalog).unwrap().plan;
    assert_eq!(serde_json::to_string(&again).unwrap(), serde_json::to_string(&*plan).unwrap(), "{toml}");
    assert_eq!(again.config_digest(), plan.config_digest());
    Ran { plan, summary, json, html }
}

/// What stands between two texts, the first of which occurs once.
fn element<'a>(html: &'a str, open: &str, close: &str) -> &'a str {
    assert_eq!(html.matches(open).count(), 1, "{open}");
    let rest = &html[html.find(open).unwrap() + open.len()..];
    &rest[..rest.find(close).unwrap()]
}

fn unescaped(text: &str) -> String {
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&#39;", "'");
    text.replace("&amp;", "&")
}

/// The elements, each closed where HTML asks for it and nested as opened; their names, in order.
fn check_nesting(html: &str) -> Vec<String> {
    const VOID: [&str; 2] = ["meta", "path"];
    let mut rest = html.strip_prefix("<!DOCTYPE html>").expect("a doctype");
    let (mut open, mut seen): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    while let Some(at) = rest.find('<') {
        assert!(
            !rest[..at].contains('>') || open.last().is_some_and(|name| name == "style"),
            "{}",
            &rest[..at]
        );
        let end = at + rest[at..].find('>').expect("a tag that ends");
        let tag = &rest[at + 1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name));
            continue;
        }
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        let name = tag.split([' ', '/']).next().unwrap().to_owned();
        seen.push(name.clone());
        if !VOID.contains(&name.as_str()) {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "never closed: {open:?}");
    for entity in html.split('&').skip(1) {
        assert!(
            ["lt;", "gt;", "amp;", "quot;", "#39;"].iter().any(|known| entity.starts_with(known)),
            "{entity:.20}"
        );
    }
    seen
}

#[test]
fn the_report_says_what_the_summary_says() {
    let Ran { plan, summary, json, html } = ran(RUN, false);
    let seen = check_nesting(&html);
    for foreign in ["script", "link", "img", "iframe", "object"] {
        assert!(!seen.iter().any(|name| name == foreign), "{foreign}");
    }
    for outside in ["http:", "https:", "url(", "@import", "src="] {
        assert!(!html.contains(outside), "{outside}");
    }
    for key in ["digest", "config_digest", "data_digest"] {
        assert!(html.contains(&format!("<code>{}</code>", json[key].as_str().unwrap())), "{key}");
    }
    let number = |key: &str| json[key].as_f64().unwrap();
    let row = |name: &str, value: String| {
        let row = format!("<tr><th>{name}</th><td>{value}</td></tr>");
        assert!(html.contains(&row), "{row}");
    };
    row("Final equity", money(number("final_equity"), Some("USD")));
    row("Return", percent(number("total_return")));
    row("Max drawdown", percent(number("max_drawdown")));
    row("Fees", money(number("fees"), Some("USD")));
    row("Trades that ended", whole(json["trades"].as_u64().unwrap()));
    row("Fills", whole(json["fills"].as_u64().unwrap()));
    assert!(json["trades"].as_u64().unwrap() > report::KeptTrades::LAST_MAX as u64, "lists are cut");
    assert!(!html.contains("Stopped early") && !html.contains("Nothing was traded"));
    for account in json["accounts"].as_array().unwrap() {
        assert!(html.contains(&format!("<td class=\"t\">{}</td>", account["account"].as_str().unwrap())));
    }
    for assumption in &summary.assumptions {
        assert!(unescaped(&html).contains(assumption), "{assumption}");
    }
    // Two charts and a small curve for each account.
    assert_eq!(seen.iter().filter(|name| *name == "svg").count(), 2 + plan.cells.len());
    assert_eq!(plan.cells[0].strategies[1].id, HOSTILE);
    assert!(html.contains("&lt;script&gt;alert(&#39;&quot;&amp;&#39;)&lt;/script&gt;"));
}

#[test]
fn a_run_that_was_stopped_or_never_traded_says_so() {
    let Ran { summary, html, .. } = ran(RUN, true);
    check_nesting(&html);
    assert!(!summary.completed && html.contains("Stopped early"));
    let idle = RUN.replace("fast = 20, slow = 100", "fast = 20000, slow = 90000");
    let idle = idle[..idle.find("[[account.strategy]]\nid =").unwrap()].to_owned();
    let Ran { summary, html, .. } = ran(&idle, false);
    check_nesting(&html);
    assert_eq!((summary.orders, summary.statistics.sharpe, summary.statistics.volatility), (0, None, None));
    assert!(html.contains("Nothing was traded") && !html.contains("Stopped early"));
}
