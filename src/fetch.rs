//! `tradeflow fetch`: a vendor's history into the catalog.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tradeflow_ingest::alphavantage::{self, AlphaVantage};
use tradeflow_ingest::binance::{self, BinanceHistory};
use tradeflow_ingest::finnhub::{FinnhubConfig, FinnhubHistory, Rest};
use tradeflow_ingest::history::{Fill, FillError, FillProgress, FillReport, History, Retry, Wanted};
use tradeflow_ingest::yahoo::Yahoo;
use tradeflow_ingest::{Secret, SystemClock};
use tradeflow_model::{Interval, Symbol, Timestamp};
use tradeflow_storage::catalog::{Catalog, ConflictPolicy};

const EXAMPLES: &str = "\
Examples:
  tradeflow fetch yahoo AAPL MSFT EURUSD=X --from 2015-01-01
  tradeflow fetch binance BTCUSDT --from 2024-01-01 --to 2024-02-01 --interval 1m
  TRADEFLOW_ALPHAVANTAGE_KEY=… tradeflow fetch alphavantage IBM --from 2020-01-01
  TRADEFLOW_FINNHUB_KEY=… tradeflow fetch finnhub OANDA:EUR_USD --from 2024-01-01 --interval 1h

Prices are those that were traded; splits and dividends are kept beside them. What the catalog has is not asked for
again: an interrupted fetch goes on with the same command, and a second run changes nothing.

  vendor        key                          bars                                  notes
  yahoo         none                         1m (29 days), 2m … 30m (59), 1h       best effort: it turns programs away at
                                             (729), 1d                             times
  alphavantage  TRADEFLOW_ALPHAVANTAGE_KEY   1m 5m 15m 30m 1h (paid), 1d           free: 25 requests a day, 100 days
  binance       none                         1s 1m 3m … 12h, 1d                    since 2017
  finnhub       TRADEFLOW_FINNHUB_KEY        1m 5m 15m 30m 1h; 1d of FX and coins  paid plans only";

/// Vendors that give history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Vendor {
    Alphavantage,
    Binance,
    Finnhub,
    Yahoo,
}

/// Fetch history from a vendor into the catalog: what is missing, within the vendor's limits.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The vendor.
    vendor: Vendor,
    /// Symbols as the vendor writes them. In the catalog a prefix such as OANDA: is left out.
    #[arg(required = true)]
    symbols: Vec<String>,
    /// Start (UTC): 2024-01-01, 2024-01-01T12:00Z.
    #[arg(long)]
    from: Timestamp,
    /// End (UTC), not included; now when left out.
    #[arg(long)]
    to: Option<Timestamp>,
    /// Length of the bars: 1m, 15m, 1h, 1d …
    #[arg(long, default_value = "1d")]
    interval: Interval,
    /// Folder or URL of the catalog.
    #[arg(long, visible_alias = "data", value_name = "DIR_OR_URL", default_value = "data/catalog")]
    catalog: String,
    /// Environment variable that holds the key, instead of TRADEFLOW_<VENDOR>_KEY.
    #[arg(long, value_name = "NAME")]
    key_env: Option<String>,
    /// Another server with the vendor's interface, such as that of `tradeflow vendor`.
    #[arg(long, value_name = "URL")]
    base_url: Option<String>,
    /// What becomes of bars that differ from those in the catalog: reject, keep (the catalog's), replace.
    #[arg(long, value_name = "ACTION", default_value = "reject")]
    on_conflict: ConflictPolicy,
    /// Print the report as JSON on standard output.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// When the flags make no sense. What fails with a symbol is told, and the exit code is 1.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let wanted = wanted(&args)?;
    let history = history(&args)?;
    let catalog = Catalog::open(&args.catalog)?;
    let stop = CancellationToken::new();
    let wish = stop.clone();
    // A handler may be there already, when the command runs inside another program: then that one decides.
    let _ = ctrlc::set_handler(move || wish.cancel());
    let fill =
        Fill { history: &*history, catalog, clock: Arc::new(SystemClock), conflict: args.on_conflict, stop };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let done = runtime.block_on(fill_all(&fill, &wanted))?;
    tell(&args, &done)?;
    let failed = done.iter().any(|(_, error)| error.is_some()) || done.len() < wanted.len();
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

type Done = (FillReport, Option<FillError>);

/// Fetches symbol after symbol; ends where an error concerns the others too.
async fn fill_all(fill: &Fill<'_>, wanted: &[Wanted]) -> anyhow::Result<Vec<Done>> {
    let mut done = Vec::new();
    for wanted in wanted {
        let bar = Bar::new(&wanted.symbol)?;
        let (report, result) = fill.run(wanted, &bar).await;
        bar.0.finish_and_clear();
        let error = result.err();
        let is_over = match &error {
            None => false,
            Some(FillError::History(error)) => error.concerns_all(),
            Some(FillError::Import(_)) => false,
            Some(_) => true,
        };
        done.push((report, error));
        if is_over {
            break;
        }
    }
    Ok(done)
}

fn wanted(args: &Args) -> anyhow::Result<Vec<Wanted>> {
    let to = args.to.unwrap_or(Timestamp::MAX);
    if args.from >= to {
        bail!("--from {} is not before --to {to}", args.from);
    }
    let mut all: Vec<Wanted> = Vec::new();
    for text in &args.symbols {
        let vendor_symbol =
            if args.vendor == Vendor::Binance { text.to_ascii_uppercase() } else { text.clone() };
        let name = vendor_symbol.rsplit(':').next().unwrap_or_default();
        let symbol = Symbol::new(name)?;
        if !all.iter().any(|wanted| wanted.symbol == symbol) {
            all.push(Wanted { symbol, vendor_symbol, interval: args.interval, from: args.from, to });
        }
    }
    Ok(all)
}

fn history(args: &Args) -> anyhow::Result<Box<dyn History>> {
    let (retry, clock) = (Retry::default(), Arc::new(SystemClock));
    // Jitter is to differ between two machines that failed together.
    let seed = u64::from(std::process::id());
    let base = |usual: &'static str| args.base_url.clone().unwrap_or_else(|| usual.into());
    Ok(match args.vendor {
        Vendor::Alphavantage => {
            let key =
                key(args, "TRADEFLOW_ALPHAVANTAGE_KEY", "https://www.alphavantage.co/support/#api-key")?;
            Box::new(AlphaVantage::new(&base(alphavantage::BASE), key, retry, seed)?)
        }
        Vendor::Binance => Box::new(BinanceHistory::new(&base(binance::HISTORY_BASE), retry, clock, seed)?),
        Vendor::Finnhub => {
            let key = key(args, "TRADEFLOW_FINNHUB_KEY", "https://finnhub.io/register")?;
            let config = match &args.base_url {
                Some(base) => FinnhubConfig::local(key, &base.parse().context("--base-url")?),
                None => FinnhubConfig::new(key),
            };
            Box::new(FinnhubHistory::new(Rest::new(&config, seed)?))
        }
        Vendor::Yahoo => Box::new(Yahoo::new(args.base_url.as_deref(), retry, clock, seed)?),
    })
}

fn key(args: &Args, usual: &str, page: &str) -> anyhow::Result<Secret> {
    let name = args.key_env.as_deref().unwrap_or(usual);
    match std::env::var(name) {
        Ok(key) if !key.trim().is_empty() => Ok(Secret::new(key.trim())),
        _ => bail!(
            "this vendor wants a key: put it into the environment variable {name} (keys come from {page})"
        ),
    }
}

fn tell(args: &Args, done: &[Done]) -> anyhow::Result<()> {
    if args.json {
        let series: Vec<_> = done
            .iter()
            .map(|(report, error)| {
                let mut report = serde_json::to_value(report)?;
                report["error"] = json!(error.as_ref().map(ToString::to_string));
                Ok(report)
            })
            .collect::<Result<_, serde_json::Error>>()?;
        println!("{}", serde_json::to_string_pretty(&json!({ "catalog": args.catalog, "series": series }))?);
    }
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header(["symbol", "bars", "asked", "added", "unchanged", "actions", "first", "last"]);
    for (report, _) in done {
        for note in &report.notes {
            eprintln!("{}: {note}", report.symbol);
        }
        for (check, rows) in &report.checks {
            eprintln!("{}: {check}: {rows} rows", report.symbol);
        }
        if report.kept_old > 0 {
            eprintln!("{}: {} bars differ from the catalog's, which stay", report.symbol, report.kept_old);
        }
        table.add_row([
            report.symbol.clone(),
            report.interval.clone(),
            report.pieces.to_string(),
            (report.added + report.replaced).to_string(),
            report.unchanged.to_string(),
            report.actions_added.to_string(),
            report.first.clone().unwrap_or_default(),
            report.last.clone().unwrap_or_default(),
        ]);
    }
    eprintln!("{table}");
    for (report, error) in done {
        if let Some(error) = error {
            eprintln!("error: {}: {error}", report.symbol);
            if report.left > 0 {
                let left = report.left;
                eprintln!("{}: {left} requests are left; what came is in {}", report.symbol, args.catalog);
            }
        }
    }
    if done.iter().all(|(report, error)| error.is_none() && report.pieces == 0) {
        eprintln!("nothing to fetch: {} had all of it already", args.catalog);
    }
    Ok(())
}

/// A progress bar on a terminal.
struct Bar(ProgressBar);

impl Bar {
    fn new(symbol: &Symbol) -> anyhow::Result<Self> {
        let bar = if std::io::stderr().is_terminal() { ProgressBar::new(0) } else { ProgressBar::hidden() };
        let style =
            ProgressStyle::with_template("{prefix} {bar:30} {pos}/{len} requests, {msg} bars, {eta} left")?;
        bar.set_style(style);
        bar.set_prefix(symbol.to_string());
        bar.set_message("0");
        Ok(Self(bar))
    }
}

impl FillProgress for Bar {
    fn pieces(&self, count: u64) {
        self.0.set_length(count);
    }

    fn piece(&self, bars: u64) {
        let before: u64 = self.0.message().parse().unwrap_or(0);
        self.0.set_message((before + bars).to_string());
        self.0.inc(1);
    }
}
