//! `tradeflow import`: foreign files into the catalog.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, bail};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use indicatif::{ProgressBar, ProgressStyle};
use tradeflow_model::calendar::Calendar;
use tradeflow_model::market::PriceType;
use tradeflow_model::{AssetClass, Currency, Interval, Symbol, Timestamp};
use tradeflow_storage::catalog::{Catalog, ConflictPolicy};
use tradeflow_storage::import::{
    self, Action, Check, Column, Field, Header, ImportError, InstrumentOptions, Layout, Policy, Progress,
    Report, Request, RowKind, StampAt, TimeFormat, Zone, presets,
};

const EXAMPLES: &str = "\
Examples:
  tradeflow import --preset ohlcv-ms --symbol BTCUSD --interval 1m btcusd_*.csv.gz
  tradeflow import --preset yahoo --symbol GOOG goog.csv
  tradeflow import --preset mt5 --symbol EURUSD --interval 15m --time-zone Europe/Helsinki EURUSD_M15.csv
  tradeflow import --symbol XYZ --interval 1h --columns time=When,open=Erster,high=Hoch,low=Tief,close=Letzter \\
      --time-format '%d.%m.%Y %H:%M' --time-zone Europe/Berlin --stamp end --delimiter ';' xyz.csv
  tradeflow import --list-presets

Checks, and what becomes of rows that fail them unless --policy or --on says otherwise:
  reject  malformed, ohlc (high or low contradict), non-positive, conflict (two bars of one time that differ)
  drop    no-price (null rows), duplicate (the same bar twice)
  keep    spike, crossed, locked, no-session, outside-session, out-of-order (rows are sorted), rounded
Gaps against the calendar are reported. With a rejected row nothing of the command is written.

Local times that daylight saving skips are refused; of those that it repeats, the first is taken, and the second where
the rows before it have passed the first.";

/// Import market data from files: CSV (plain, gzip, zstd, zip) and Parquet.
///
/// What a file is, is told by its content. All files are read and checked before anything is written, and importing
/// the same files again changes nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The files.
    #[arg(required_unless_present = "list_presets")]
    files: Vec<PathBuf>,
    /// The layout of the files; see --list-presets. Flags below override parts of it.
    #[arg(long, default_value = "csv")]
    preset: String,
    /// Show the presets with samples, and end.
    #[arg(long)]
    list_presets: bool,
    /// The instrument's symbol.
    #[arg(long)]
    symbol: Option<String>,
    /// Length of the bars: 1m, 15m, 4h, 1d, 1w …
    #[arg(long)]
    interval: Option<Interval>,
    /// The catalog: a folder or a URL.
    #[arg(long, default_value = "data/catalog")]
    catalog: String,
    /// Only members of zip archives whose names contain this.
    #[arg(long)]
    member: Option<String>,
    /// Read and check, but write nothing.
    #[arg(long)]
    dry_run: bool,
    /// Print the report as JSON on standard output.
    #[arg(long)]
    json: bool,
    /// Write every row that was left out to this CSV file: file, member, line, check, detail.
    #[arg(long, value_name = "FILE")]
    dropped: Option<PathBuf>,

    /// What a row holds: bar, trade, quote, action.
    #[arg(long, help_heading = "Layout")]
    kind: Option<RowKind>,
    /// Which column is what, by name in the header or by position from 0: time=Date,open=Open,close=4
    #[arg(long, value_delimiter = ',', value_name = "FIELD=COLUMN", help_heading = "Layout")]
    columns: Vec<String>,
    /// epoch-s, epoch-ms, epoch-us, epoch-ns, epoch (any of these), ms-of-day (date from the file's name), iso (year
    /// first), dmy, mdy, or a strftime pattern.
    #[arg(long, value_name = "FORMAT", help_heading = "Layout")]
    time_format: Option<TimeFormat>,
    /// Zone of times that do not say theirs: UTC, an offset such as -05:00, or a name such as Europe/Berlin.
    #[arg(long, value_name = "ZONE", help_heading = "Layout")]
    time_zone: Option<Zone>,
    /// Which end of the bar its time is: start or end.
    #[arg(long, help_heading = "Layout")]
    stamp: Option<StampAt>,
    /// Prices in the file are this many times too large: 100, 10000 … (a power of ten).
    #[arg(long, value_name = "FACTOR", help_heading = "Layout")]
    price_scale_factor: Option<u64>,
    /// Round prices to so many decimals, half to even, where the file prints binary floats.
    #[arg(long, value_name = "DECIMALS", help_heading = "Layout", value_parser = clap::value_parser!(u8).range(0..=9))]
    round: Option<u8>,
    /// Round volumes and sizes to so many decimals (9, the most that can be kept, unless said).
    #[arg(long, value_name = "DECIMALS", help_heading = "Layout", value_parser = clap::value_parser!(u8).range(0..=9))]
    round_sizes: Option<u8>,
    /// Character between fields: , ; | or tab.
    #[arg(long, help_heading = "Layout")]
    delimiter: Option<String>,
    /// The first row is data, whatever it looks like.
    #[arg(long, help_heading = "Layout")]
    no_header: bool,
    /// What bars are made of: last, bid, ask, mid.
    #[arg(long, help_heading = "Layout")]
    price_type: Option<PriceType>,

    /// What becomes of contradictory rows.
    #[arg(long, value_name = "ACTION", help_heading = "Checks", value_parser = action())]
    policy: Option<Action>,
    /// What becomes of rows that fail one check, such as spike=drop; may be repeated.
    #[arg(long, value_name = "CHECK=ACTION", help_heading = "Checks")]
    on: Vec<String>,
    /// What becomes of bars that differ from those in the catalog: reject, keep (the catalog's), replace.
    #[arg(long, value_name = "ACTION", default_value = "reject", help_heading = "Checks",
        value_parser = PossibleValuesParser::new(["reject", "keep", "replace"]))]
    on_conflict: String,

    /// Class: equity, fx-pair, crypto-spot, perpetual, future.
    #[arg(long, help_heading = "New instrument")]
    class: Option<AssetClass>,
    /// Base currency or name.
    #[arg(long, help_heading = "New instrument")]
    base: Option<String>,
    /// Quote currency.
    #[arg(long, help_heading = "New instrument")]
    quote: Option<String>,
    /// Decimals of prices.
    #[arg(long, value_name = "DECIMALS", help_heading = "New instrument")]
    price_scale: Option<u8>,
    /// Decimals of quantities.
    #[arg(long, value_name = "DECIMALS", help_heading = "New instrument")]
    size_scale: Option<u8>,
    /// The tick.
    #[arg(long, help_heading = "New instrument")]
    tick: Option<import::Decimal>,
    /// The lot.
    #[arg(long, help_heading = "New instrument")]
    lot: Option<import::Decimal>,
    /// Units of the base in one unit of quantity.
    #[arg(long, help_heading = "New instrument")]
    multiplier: Option<import::Decimal>,
    /// Trading calendar: 24x7, fx, xnys, cme.
    #[arg(long, help_heading = "New instrument")]
    calendar: Option<Calendar>,
    /// Last instant of trading of a future.
    #[arg(long, help_heading = "New instrument")]
    expiry: Option<Timestamp>,
}

fn action() -> impl TypedValueParser<Value = Action> {
    PossibleValuesParser::new(["reject", "drop", "keep"]).try_map(|text| text.parse::<Action>())
}

/// Runs the command.
///
/// # Errors
/// When the flags make no sense or the import fails; the catalog is then as it was.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    if args.list_presets {
        return list_presets();
    }
    let request = request(&args)?;
    let catalog = Catalog::open(&args.catalog)?;
    let progress = Bar::new(&args.files)?;
    let started = std::time::Instant::now();
    let result = import::import(&catalog, &request, &progress);
    progress.bar.finish_and_clear();
    let report = match result {
        Ok(report) => report,
        Err(ImportError::Rejected(report)) => {
            if let Some(path) = &args.dropped {
                write_dropped(path, &report)?;
            }
            if args.json {
                println!("{}", serde_json::to_string_pretty(&report)?);
            }
            return Err(ImportError::Rejected(report).into());
        }
        Err(error) => return Err(error.into()),
    };
    if let Some(path) = &args.dropped {
        write_dropped(path, &report)?;
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    }
    eprint!("{}", report.text());
    print_table(&report);
    let rows: u64 = report.files.iter().map(|file| file.rows).sum();
    let seconds = started.elapsed().as_secs_f64();
    eprintln!("{rows} rows of {} files in {seconds:.1} s", report.files.len());
    if !args.dry_run {
        match report.files_written {
            0 => eprintln!("nothing changed: {} had all of it already", args.catalog),
            files => eprintln!("{files} files written in {}", args.catalog),
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list_presets() -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    for preset in presets::ALL {
        writeln!(out, "{}\n    {}", preset.name, preset.about)?;
        for line in preset.sample.lines() {
            writeln!(out, "      {line}")?;
        }
        writeln!(out)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn request(args: &Args) -> anyhow::Result<Request> {
    let symbol = args.symbol.as_deref().map(Symbol::new).transpose()?;
    let currency = |code: &Option<String>| code.as_deref().map(Currency::new).transpose();
    let mut policy = Policy::default();
    if let Some(action) = args.policy {
        policy.set_contradictions(action);
    }
    for text in &args.on {
        policy.set(text).map_err(anyhow::Error::msg).context("--on")?;
    }
    let conflict = match args.on_conflict.as_str() {
        "keep" => ConflictPolicy::Keep,
        "replace" => ConflictPolicy::Replace,
        _ => ConflictPolicy::Reject,
    };
    Ok(Request {
        files: args.files.clone(),
        layout: layout(args)?,
        symbol,
        instrument: InstrumentOptions {
            class: args.class,
            base: currency(&args.base)?,
            quote: currency(&args.quote)?,
            price_scale: args.price_scale,
            size_scale: args.size_scale,
            tick: args.tick,
            lot: args.lot,
            multiplier: args.multiplier,
            calendar: args.calendar,
            expiry: args.expiry,
        },
        member: args.member.clone(),
        policy,
        conflict,
        dry_run: args.dry_run,
    })
}

/// The preset, with what the flags override.
fn layout(args: &Args) -> anyhow::Result<Layout> {
    let Some(preset) = presets::find(&args.preset) else {
        let names: Vec<_> = presets::ALL.iter().map(|preset| preset.name).collect();
        bail!("there is no preset {:?}; there are {}", args.preset, names.join(", "));
    };
    let mut layout = (preset.layout)();
    if let Some(kind) = args.kind.filter(|kind| *kind != layout.kind) {
        layout.kind = kind;
        // The order of the preset's columns is that of its own rows.
        layout.positions.clear();
    }
    for text in &args.columns {
        layout.columns.push(column(text)?);
    }
    if let Some(format) = &args.time_format {
        layout.time = format.clone();
    }
    if let Some(zone) = &args.time_zone {
        layout.zone = zone.clone();
    }
    layout.stamp = args.stamp.unwrap_or(layout.stamp);
    if let Some(factor) = args.price_scale_factor {
        let power = factor.checked_ilog10().filter(|power| 10_u64.checked_pow(*power) == Some(factor));
        let Some(power) = power.and_then(|power| u8::try_from(power).ok()).filter(|power| *power <= 9) else {
            bail!("--price-scale-factor {factor} is not a power of ten up to 1000000000");
        };
        layout.price_shift = power;
    }
    layout.round = args.round.or(layout.round);
    layout.round_sizes = args.round_sizes.unwrap_or(layout.round_sizes);
    if let Some(text) = &args.delimiter {
        layout.delimiter = Some(match text.as_str() {
            "tab" | "\\t" => b'\t',
            text if text.len() == 1 && text != "\"" => text.as_bytes()[0],
            _ => bail!("--delimiter {text:?} is not one ASCII character or tab"),
        });
    }
    if args.no_header {
        layout.header = Header::Absent;
    }
    layout.price_type = args.price_type.unwrap_or(layout.price_type);
    layout.interval = args.interval.or(layout.interval);
    Ok(layout)
}

fn column(text: &str) -> anyhow::Result<(Field, Column)> {
    let (name, column) =
        text.split_once('=').with_context(|| format!("--columns {text:?} is not FIELD=COLUMN"))?;
    let field = Field::ALL.into_iter().find(|field| field.name() == name).with_context(|| {
        let names: Vec<_> = Field::ALL.iter().map(|field| field.name()).collect();
        format!("--columns: {name:?} is not a field; there are {}", names.join(", "))
    })?;
    let column = match column.parse::<usize>() {
        Ok(at) => Column::At(at),
        Err(_) => Column::Named(column.to_owned()),
    };
    Ok((field, column))
}

fn print_table(report: &Report) {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header(["symbol", "series", "rows", "added", "unchanged", "first", "last"]);
    for series in &report.series {
        table.add_row([
            series.symbol.clone(),
            series.kind.clone(),
            series.rows.to_string(),
            (series.added + series.replaced).to_string(),
            (series.unchanged + series.kept_old).to_string(),
            series.first.clone(),
            series.last.clone(),
        ]);
    }
    eprintln!("{table}");
}

fn write_dropped(path: &std::path::Path, report: &Report) -> anyhow::Result<()> {
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    let mut text = String::from("file,member,line,check,detail\n");
    for row in &report.dropped {
        let member = row.member.as_deref().unwrap_or_default();
        text.push_str(&format!(
            "{},{},{},{},{}\n",
            quoted(&row.file),
            quoted(member),
            row.line,
            check_name(row.check),
            quoted(&row.detail)
        ));
    }
    std::fs::write(path, text).with_context(|| format!("--dropped {}", path.display()))
}

fn check_name(check: Check) -> &'static str {
    check.name()
}

/// A progress bar on a terminal, and the wish to stop.
struct Bar {
    bar: ProgressBar,
    stop: Arc<AtomicBool>,
}

impl Bar {
    fn new(files: &[PathBuf]) -> anyhow::Result<Self> {
        let bytes = files.iter().filter_map(|file| std::fs::metadata(file).ok()).map(|meta| meta.len()).sum();
        let bar =
            if std::io::stderr().is_terminal() { ProgressBar::new(bytes) } else { ProgressBar::hidden() };
        bar.set_style(ProgressStyle::with_template(
            "reading {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta} left",
        )?);
        let stop = Arc::new(AtomicBool::new(false));
        let wish = Arc::clone(&stop);
        // A handler may be there already, when the command runs inside another program: then that one decides.
        let _ = ctrlc::set_handler(move || wish.store(true, Ordering::Relaxed));
        Ok(Self { bar, stop })
    }
}

impl Progress for Bar {
    fn read(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    fn read_all(&self, partitions: u64) {
        if let Ok(style) =
            ProgressStyle::with_template("checking and writing {bar:30} {pos}/{len} {eta} left")
        {
            self.bar.set_style(style);
        }
        self.bar.reset();
        self.bar.set_length(partitions * 2);
    }

    fn partition(&self) {
        self.bar.inc(1);
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
