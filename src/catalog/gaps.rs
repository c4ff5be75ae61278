//! `tradeflow catalog gaps`: what is missing.

use std::process::ExitCode;

use serde_json::{Value, json};
use tradeflow_model::{Interval, Symbol, Timestamp};
use tradeflow_storage::catalog::GapReport;

use super::{Choice, Place, chosen, grouped, kind_cells, parse_symbol, table, time_text};

/// Find what is missing of series, against the calendars of their instruments.
///
/// For bars: the intervals that the calendar expects and that are not there. For trades and quotes: silences in
/// session that are longer than --silence.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The instrument; all of them when left out.
    #[arg(long, value_parser = parse_symbol)]
    symbol: Option<Symbol>,
    #[command(flatten)]
    choice: Choice,
    /// Look from this time on (UTC); by default from the first row.
    #[arg(long)]
    from: Option<Timestamp>,
    /// Look before this time (UTC); by default to the last row.
    #[arg(long)]
    to: Option<Timestamp>,
    /// Silence of trades and quotes that counts as a gap, such as 30s, 5m, 1h.
    #[arg(long, default_value = "5m")]
    silence: Interval,
    /// Gaps to list for each series, the longest first; --json lists all, in order of time.
    #[arg(long, value_name = "N", default_value_t = 10)]
    limit: usize,
    #[command(flatten)]
    place: Place,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let catalog = args.place.open()?;
    let Some(silence_ns) = args.silence.nanos() else {
        anyhow::bail!("--silence {} is not a length of time such as 30s, 5m, 1h", args.silence);
    };
    let mut reports = Vec::new();
    for info in chosen(&catalog, args.symbol.as_ref(), &args.choice)? {
        reports.extend(catalog.gaps(&info.key, args.from, args.to, silence_ns)?);
    }
    if args.place.json {
        let series: Vec<_> = reports.iter().map(report_json).collect();
        println!("{}", serde_json::to_string_pretty(&json!({ "series": series }))?);
        return Ok(ExitCode::SUCCESS);
    }
    let mut summary = table(&[
        "symbol",
        "kind",
        "interval",
        "price",
        "from",
        "to",
        "rows",
        "gaps",
        "missing",
        "complete",
        "unexpected",
    ]);
    for report in &reports {
        let [kind, interval, price] = kind_cells(report.key.kind);
        summary.add_row([
            report.key.symbol.to_string(),
            kind,
            interval,
            price,
            time_text(report.from),
            time_text(report.to),
            grouped(report.rows),
            grouped(report.gaps.len() as u64),
            missing_text(report),
            format!("{:.3} %", report.percent_complete()),
            grouped(report.unexpected),
        ]);
    }
    println!("{summary}");
    for report in &reports {
        print_gaps(report, args.limit);
    }
    Ok(ExitCode::SUCCESS)
}

/// Missing bars, or the length of silences.
fn missing_text(report: &GapReport) -> String {
    if is_counted(report) {
        return grouped(report.missing);
    }
    duration_text(report.missing)
}

fn is_counted(report: &GapReport) -> bool {
    report.gaps.iter().any(|gap| gap.bars > 0)
}

fn duration_text(nanos: u64) -> String {
    let seconds = nanos / 1_000_000_000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{:.1} min", seconds as f64 / 60.0),
        3_600..86_400 => format!("{:.1} h", seconds as f64 / 3_600.0),
        _ => format!("{:.1} d", seconds as f64 / 86_400.0),
    }
}

fn print_gaps(report: &GapReport, limit: usize) {
    if !report.is_vouched_for {
        println!(
            "\n{}: the facts of calendar {} do not cover all of this time; holidays may show as gaps.",
            report.key, report.calendar
        );
    }
    if report.gaps.is_empty() || limit == 0 {
        return;
    }
    let mut gaps = report.gaps.clone();
    gaps.sort_by_key(|gap| std::cmp::Reverse((gap.bars, gap.to.as_nanos() - gap.from.as_nanos())));
    gaps.truncate(limit);
    println!("\n{}: {} of {} gaps, the longest first", report.key, gaps.len(), report.gaps.len());
    let mut table = table(&["from", "to", "bars", "length"]);
    for gap in gaps {
        let length = gap.to.as_nanos() - gap.from.as_nanos();
        table.add_row([
            time_text(gap.from),
            time_text(gap.to),
            if gap.bars > 0 { grouped(gap.bars) } else { "-".into() },
            duration_text(length.unsigned_abs()),
        ]);
    }
    println!("{table}");
}

fn report_json(report: &GapReport) -> Value {
    let [kind, interval, price] = kind_cells(report.key.kind);
    let gaps: Vec<_> = report
        .gaps
        .iter()
        .map(|gap| json!({ "from": gap.from.to_string(), "to": gap.to.to_string(), "bars": gap.bars }))
        .collect();
    json!({
        "symbol": report.key.symbol,
        "kind": kind,
        "interval": interval,
        "price": price,
        "calendar": report.calendar,
        "calendar_covers_all": report.is_vouched_for,
        "from": report.from.to_string(),
        "to": report.to.to_string(),
        "rows": report.rows,
        "expected": report.expected,
        "missing": report.missing,
        "unexpected": report.unexpected,
        "percent_complete": report.percent_complete(),
        "gaps": gaps,
    })
}
