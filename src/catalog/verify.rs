//! `tradeflow catalog verify`: check every file.

use std::ops::ControlFlow;
use std::process::ExitCode;

use serde_json::json;
use tradeflow_model::Symbol;

use super::{Place, grouped, parse_symbol};

/// Check every file of the catalog: bytes, digests, order, unique times, bars that contradict themselves, statistics
/// and place. Exits with 1 and names the files where something is wrong.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The instrument; all of them when left out.
    #[arg(long, value_parser = parse_symbol)]
    symbol: Option<Symbol>,
    #[command(flatten)]
    place: Place,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let catalog = args.place.open()?;
    // Hides itself where standard error is not a terminal.
    let bar = indicatif::ProgressBar::new(0);
    bar.set_style(indicatif::ProgressStyle::with_template("{bar:40} {pos}/{len} files, {eta} left")?);
    let report = catalog.verify(args.symbol.as_ref(), |done, all| {
        bar.set_length(all);
        bar.set_position(done);
        ControlFlow::Continue(())
    })?;
    bar.finish_and_clear();
    if args.place.json {
        let faults: Vec<_> = report
            .faults
            .iter()
            .map(|fault| json!({ "path": fault.path, "problems": fault.problems }))
            .collect();
        let value = json!({
            "sound": report.is_sound(),
            "files": report.files,
            "rows": report.rows,
            "faults": faults,
            "strays": report.strays,
        });
        println!("{}", serde_json::to_string_pretty(&value)?);
    } else {
        for fault in &report.faults {
            println!("{}", fault.path);
            fault.problems.iter().for_each(|problem| println!("  {problem}"));
        }
        for stray in &report.strays {
            println!("{stray}: not part of the catalog; nothing reads it");
        }
        println!(
            "{} files with {} rows checked: {}",
            grouped(report.files),
            grouped(report.rows),
            match report.faults.len() {
                0 => "all sound".to_owned(),
                1 => "1 file is not sound".to_owned(),
                count => format!("{count} files are not sound"),
            }
        );
    }
    Ok(if report.is_sound() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
