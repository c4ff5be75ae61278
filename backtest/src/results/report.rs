//! `report.html`: a run on one page that needs nothing else, neither files beside it nor a script.
//!
//! | file | holds |
//! |---|---|
//! | `report.rs` | the page from top to bottom |
//! | `report/trace.rs` | [`Trace`]: the curve reduced to what a screen shows, as its points go by |
//! | `report/kept.rs` | [`KeptTrades`]: the last, best and worst trades |
//! | `report/chart.rs` | charts as SVG |
//! | `report/sections.rs` | tables: months, trades, accounts |
//! | `report/repeat.rs` | the TOML that repeats the run |
//! | `report/style.css` | how it looks: light, dark, narrow, on paper |

mod chart;
mod kept;
mod repeat;
mod sections;
mod trace;

pub use kept::{KeptTrade, KeptTrades};
pub use trace::{Column, Drawdown, MonthEnd, Trace};

use std::fmt::{self, Display, Write};
use std::path::Path;

use tradeflow_model::plan::RunPlan;

use super::format::{amount, duration, money, or_none, percent, ratio, time, whole};
use super::summary::Summary;

/// What a report shows beyond the summary, gathered while the tables were written.
#[derive(Debug, Clone, Default)]
pub struct Gathered {
    /// The curve of all accounts together.
    pub total: Option<Trace>,
    /// Each account's curve; none where accounts are too many for curves of their own.
    pub accounts: Vec<Trace>,
    /// Some of the trades.
    pub trades: KeptTrades,
}

impl Gathered {
    /// More accounts than these have no curves of their own: at 100 kB each, a sweep over thousands would fill memory
    /// with what nobody looks at.
    pub const CURVES_MAX: usize = 24;
}

/// Text in HTML: what could be markup is escaped, also within an attribute's quotes.
pub(super) struct Escaped<'a>(pub(super) &'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(at) = rest.find(['&', '<', '>', '"', '\'']) {
            f.write_str(&rest[..at])?;
            f.write_str(match rest.as_bytes()[at] {
                b'&' => "&amp;",
                b'<' => "&lt;",
                b'>' => "&gt;",
                b'"' => "&quot;",
                _ => "&#39;",
            })?;
            rest = &rest[at + 1..];
        }
        f.write_str(rest)
    }
}

/// Appends to the page; writing to a `String` can't fail.
macro_rules! put {
    ($out:expr, $($arg:tt)*) => {{ let _ = write!($out, $($arg)*); }};
}
use put;

/// Writes `report.html` into a folder. `catalog` is the catalog's address, for the command that repeats the run.
///
/// # Errors
/// When the file can't be written.
pub fn write(
    folder: &Path,
    plan: &RunPlan,
    catalog: &str,
    summary: &Summary,
    gathered: &Gathered,
) -> Result<(), String> {
    let file = folder.join("report.html");
    std::fs::write(&file, page(plan, catalog, summary, gathered))
        .map_err(|e| format!("{}: {e}", file.display()))
}

/// The page.
fn page(plan: &RunPlan, catalog: &str, summary: &Summary, gathered: &Gathered) -> String {
    let mut out = String::with_capacity(200_000);
    let title = format!("{} on {}", some(&summary.strategies), some(&summary.symbols));
    put!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{0} – backtest</title>\n\
         <style>\n{1}</style>\n</head>\n<body>\n<main>\n<header>\n<h1>{0}</h1>\n",
        Escaped(&title),
        include_str!("report/style.css"),
    );
    put!(out, "<p class=\"soft\">{}</p>\n</header>\n", Escaped(&subtitle(plan, summary)));
    warnings(&mut out, summary);
    tiles(&mut out, summary, gathered);
    curves(&mut out, summary, gathered);
    if let Some(trace) = &gathered.total {
        sections::months(&mut out, trace);
    }
    figures(&mut out, summary, gathered);
    sections::accounts(&mut out, summary, &gathered.accounts);
    sections::trades(&mut out, plan, &gathered.trades);
    assumptions(&mut out, summary);
    provenance(&mut out, plan, catalog, summary);
    out.push_str("</main>\n</body>\n</html>\n");
    out
}

/// The first names of a list, each once, and how many more there are.
fn some(names: &[String]) -> String {
    const NAMES_MAX: usize = 4;
    let mut different: Vec<&str> = Vec::new();
    for name in names {
        if !different.contains(&name.as_str()) && different.len() <= NAMES_MAX {
            different.push(name);
        }
    }
    if different.len() > NAMES_MAX {
        format!("{}, …", different[..NAMES_MAX].join(", "))
    } else {
        different.join(", ")
    }
}

fn subtitle(plan: &RunPlan, summary: &Summary) -> String {
    use tradeflow_model::market::SeriesKind;
    let data = match repeat::main_kind(plan) {
        Some(SeriesKind::Bars { interval, .. }) => format!("{interval} bars"),
        Some(SeriesKind::Trades) => "trades".into(),
        Some(SeriesKind::Quotes) => "quotes".into(),
        _ => "events".into(),
    };
    let mut text = format!("{data}, {} to {} UTC", time(plan.from), time(plan.to));
    if summary.bars > 0 {
        text += &format!(" · {} bars", whole(summary.bars));
    }
    if summary.ticks > 0 {
        text += &format!(" · {} ticks", whole(summary.ticks));
    }
    if summary.accounts.len() > 1 {
        text += &format!(" · {} accounts", whole(summary.accounts.len() as u64));
    }
    text
}

fn warnings(out: &mut String, summary: &Summary) {
    let mut warn = |text: String| put!(out, "<p class=\"warning\">{text}</p>\n");
    if !summary.completed {
        let at = summary.stopped_at.as_deref().and_then(|at| at.parse().ok()).map(time);
        warn(format!(
            "<b>Stopped early, at {} UTC.</b> Everything here is as of then: it is not the result of the whole run.",
            or_none(at)
        ));
    }
    if summary.fills == 0 {
        warn(if summary.orders == 0 {
            "<b>Nothing was traded:</b> no strategy sent an order.".into()
        } else {
            format!("<b>Nothing was traded:</b> none of {} orders filled.", whole(summary.orders))
        });
    }
    if summary.final_equity <= 0.01 * summary.initial_equity {
        warn("<b>The account was used up:</b> less than a hundredth of the initial equity is left.".into());
    }
    let refused = summary.denied + summary.rejected;
    if refused > 0 {
        warn(format!(
            "<b>{} of {} orders were refused:</b> {} by the risk gate, {} by the venue. The column <code>reason</code> \
             of orders.parquet says why.",
            whole(refused),
            whole(summary.orders),
            whole(summary.denied),
            whole(summary.rejected)
        ));
    }
}

fn tiles(out: &mut String, summary: &Summary, gathered: &Gathered) {
    let currency = summary.currency.as_deref();
    let (curve, trades) = (&summary.statistics, &summary.trade_statistics);
    let in_currency = |name: &str| match currency {
        Some(code) => format!("{name}, {}", Escaped(code)),
        None => name.to_owned(),
    };
    let (final_name, fees_name) = (in_currency("Final equity"), in_currency("Fees"));
    let deepest = gathered.total.as_ref().and_then(Trace::deepest);
    let days = |d: Drawdown| format!("{} to {}", &time(d.from)[..10], &time(d.to)[..10]);
    let tiles = [
        (
            final_name.as_str(),
            amount(summary.final_equity, currency),
            "",
            format!("from {}", amount(summary.initial_equity, currency)),
        ),
        (
            "Return",
            percent(summary.total_return),
            sign_class(summary.total_return),
            format!("{} a year", or_none(curve.cagr.map(percent))),
        ),
        ("Max drawdown", percent(summary.max_drawdown), "", deepest.map_or_else(|| "none".into(), days)),
        (
            "Sharpe ratio",
            or_none(curve.sharpe.map(ratio)),
            "",
            format!("Sortino {}", or_none(curve.sortino.map(ratio))),
        ),
        (
            "Trades",
            whole(summary.trades),
            "",
            match trades.win_rate() {
                Some(rate) => format!("{} won", percent(rate)),
                None => "none ended".into(),
            },
        ),
        (
            fees_name.as_str(),
            amount(summary.fees, currency),
            "",
            format!("{} of initial equity", percent(summary.fees / summary.initial_equity)),
        ),
    ];
    out.push_str("<div class=\"tiles\">\n");
    for (name, value, class, below) in tiles {
        put!(
            out,
            "<div class=\"tile\"><span>{name}</span><b class=\"{class}\">{value}</b><span>{below}</span></div>\n"
        );
    }
    out.push_str("</div>\n");
}

/// The class that colours a gain or a loss.
fn sign_class(value: f64) -> &'static str {
    match value {
        v if v > 0.0 => "gain",
        v if v < 0.0 => "loss",
        _ => "",
    }
}

fn curves(out: &mut String, summary: &Summary, gathered: &Gathered) {
    let Some(trace) = gathered.total.as_ref().filter(|trace| trace.span().is_some()) else {
        out.push_str(
            "<p class=\"note\">There were no events between start and end, so there is no curve.</p>\n",
        );
        return;
    };
    let code = summary.currency.as_deref().map(|code| format!(", {}", Escaped(code))).unwrap_or_default();
    put!(out, "<h2>Equity{code}</h2>\n<figure>");
    chart::equity(out, trace, "Equity over time");
    out.push_str("<figcaption>Drawdown from the highest equity so far</figcaption>");
    chart::drawdown(out, trace, "Drawdown over time");
    out.push_str("</figure>\n");
    out.push_str(
        "<p class=\"note\">Marked to market; cash and positions of all accounts. The dashed line is the initial \
         equity. Each column of the picture spans lowest to highest, so no extreme is lost. Times are UTC.</p>\n",
    );
}

fn figures(out: &mut String, summary: &Summary, gathered: &Gathered) {
    let currency = summary.currency.as_deref();
    let (curve, trades) = (&summary.statistics, &summary.trade_statistics);
    let losses = trades.count - trades.wins;
    let mean = |sum: f64, count: u64| (count > 0).then(|| money(sum / count as f64, currency));
    let deepest = gathered.total.as_ref().and_then(Trace::deepest);
    let some_trades = |value: f64| (trades.count > 0).then(|| money(value, currency));
    let refused = summary.denied + summary.rejected;
    out.push_str("<h2>Figures</h2>\n<div class=\"facts\">\n");
    facts(
        out,
        "Account",
        &[
            ("Initial equity", money(summary.initial_equity, currency)),
            ("Final equity", money(summary.final_equity, currency)),
            ("Return", percent(summary.total_return)),
            ("Return a year (CAGR)", or_none(curve.cagr.map(percent))),
            ("Volatility a year", or_none(curve.volatility.map(percent))),
            ("Sharpe ratio", or_none(curve.sharpe.map(ratio))),
            ("Sortino ratio", or_none(curve.sortino.map(ratio))),
            ("Max drawdown", percent(summary.max_drawdown)),
            ("from its high at", or_none(deepest.map(|d| time(d.from)))),
            ("to its low at", or_none(deepest.map(|d| time(d.to)))),
            ("Longest drawdown", duration(curve.max_drawdown_ns)),
            ("Fees", money(summary.fees, currency)),
        ],
    );
    facts(
        out,
        "Trades",
        &[
            ("Trades that ended", whole(trades.count)),
            ("Long, short", format!("{}, {}", whole(trades.long), whole(trades.count - trades.long))),
            ("Win rate", or_none(trades.win_rate().map(percent))),
            ("Profit factor", or_none(trades.profit_factor().map(ratio))),
            ("Mean trade", or_none(mean(trades.gross_profit - trades.gross_loss, trades.count))),
            ("Mean winner", or_none(mean(trades.gross_profit, trades.wins))),
            ("Mean loser", or_none(mean(-trades.gross_loss, losses))),
            ("Best trade", or_none(some_trades(trades.best))),
            ("Worst trade", or_none(some_trades(trades.worst))),
            (
                "Mean time in a trade",
                or_none((trades.count > 0).then(|| duration(trades.held_ns / trades.count as i64))),
            ),
            ("Orders", format!("{} ({} refused)", whole(summary.orders), whole(refused))),
            ("Fills", whole(summary.fills)),
        ],
    );
    out.push_str(
        "</div>\n<p class=\"note\">Trades are from flat to flat, their profits after fees. Ratios are of daily \
         returns, by the year, without interest. A loser is a trade that did not win.</p>\n",
    );
}

fn facts(out: &mut String, name: &str, rows: &[(&str, String)]) {
    put!(out, "<div><h3>{name}</h3><table>\n");
    for (name, value) in rows {
        put!(out, "<tr><th>{name}</th><td>{}</td></tr>\n", Escaped(value));
    }
    out.push_str("</table></div>\n");
}

fn assumptions(out: &mut String, summary: &Summary) {
    out.push_str("<h2>What was assumed</h2>\n<ul>\n");
    for assumption in &summary.assumptions {
        put!(out, "<li>{}</li>\n", Escaped(assumption));
    }
    out.push_str("</ul>\n");
}

fn provenance(out: &mut String, plan: &RunPlan, catalog: &str, summary: &Summary) {
    out.push_str("<h2>What it was made from</h2>\n<div class=\"digest\"><table>\n");
    let mut kinds: Vec<String> = Vec::new();
    for strategy in plan.cells.iter().flat_map(|cell| &cell.strategies) {
        let kind = format!("{} version {}", strategy.kind, strategy.version);
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    for (name, value) in
        [("Program", format!("tradeflow {}", summary.version)), ("Strategies", kinds.join(", "))]
    {
        put!(out, "<tr><th>{name}</th><td>{}</td></tr>\n", Escaped(&value));
    }
    for (name, digest) in [
        ("Digest of all outputs", summary.digest.to_string()),
        ("Digest of the plan", summary.config_digest.to_string()),
        ("Digest of the data", summary.data_digest.to_string()),
    ] {
        put!(out, "<tr><th>{name}</th><td><code>{digest}</code></td></tr>\n");
    }
    put!(
        out,
        "<tr><th>Seed</th><td>{}</td></tr>\n<tr><th>Took</th><td>{:.2} s</td></tr>\n</table></div>\n",
        summary.seed,
        summary.seconds
    );
    let quoted = if catalog.chars().all(|c| c.is_ascii_alphanumeric() || "/._-:+@".contains(c)) {
        catalog.to_owned()
    } else {
        format!("'{}'", catalog.replace('\'', "'\\''"))
    };
    put!(
        out,
        "<h2>How to repeat it</h2>\n<p>Save this as <code>run.toml</code>, then run it on the same data:</p>\n\
         <pre>tradeflow backtest run.toml --catalog {}</pre>\n<pre id=\"run-toml\">{}</pre>\n\
         <p class=\"note\">The run is the same when its digests are: the same program, plan and data give the same \
         outputs, on any number of workers.</p>\n",
        Escaped(&quoted),
        Escaped(&repeat::toml(plan))
    );
    out.push_str(
        "<footer>The folder of this page also holds summary.json and, as Parquet, equity, orders, fills, trades and \
         positions.</footer>\n",
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_be_markup_is_escaped() {
        let text = Escaped("<a href=\"x\">'é' & co</a>").to_string();
        assert_eq!(text, "&lt;a href=&quot;x&quot;&gt;&#39;é&#39; &amp; co&lt;/a&gt;");
    }
}
