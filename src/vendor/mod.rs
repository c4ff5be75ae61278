//! `tradeflow vendor`: a vendor's protocol on this machine, for demonstrations and tests without a key.

mod alphavantage;
mod yahoo;

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use tradeflow_ingest::vendor::{Generated, GeneratedOptions, Market, Misbehaviour, Server, Stored};
use tradeflow_model::{Symbol, Timestamp};
use tradeflow_storage::catalog::Catalog;

const EXAMPLES: &str = "\
Examples:
  tradeflow vendor yahoo --data data/catalog
  tradeflow vendor alphavantage --premium --listen 127.0.0.1:4711
  tradeflow fetch yahoo SAMPLE-EQ --from 2014-01-01 --base-url http://127.0.0.1:PORT

The address is printed on standard output once it listens. What goes wrong can be changed while it runs:
  curl -X PUT http://127.0.0.1:PORT/_control -H 'content-type: application/json' -d '{\"refuse_next\": 3}'";

/// Serve a vendor's protocol on this machine, from a catalog or a generated market.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    vendor: Vendor,
}

#[derive(Debug, clap::Subcommand)]
enum Vendor {
    /// Alpha Vantage: daily and intraday bars, quotes.
    Alphavantage(alphavantage::Args),
    /// Yahoo Finance: charts and quotes.
    Yahoo(yahoo::Args),
}

/// What every vendor has.
#[derive(Debug, clap::Args)]
struct Common {
    /// Address to listen on; port 0 for a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Serve the history of this catalog (folder or URL) instead of a generated market.
    #[arg(long, value_name = "DIR_OR_URL")]
    data: Option<String>,
    /// Seed of the generated market.
    #[arg(long, default_value_t = 1, conflicts_with = "data")]
    seed: u64,
    /// Symbols of the generated market, with commas.
    #[arg(long, value_delimiter = ',', value_parser = symbol, conflicts_with = "data")]
    symbols: Vec<Symbol>,
    /// Keep the trading hours of each class in the generated market; otherwise it trades round the clock.
    #[arg(long, conflicts_with = "data")]
    hours: bool,
    /// Time of the generated market when it starts; the machine's when left out.
    #[arg(long, conflicts_with = "data")]
    start: Option<Timestamp>,
    /// How fast its time goes.
    #[arg(long, default_value_t = 1.0, conflicts_with = "data")]
    speed: f64,
    /// Answer the next so many requests with the vendor's way of saying "too many".
    #[arg(long, default_value_t = 0)]
    refuse_next: u64,
    /// Answer the next so many requests with the vendor's way of failing.
    #[arg(long, default_value_t = 0)]
    fail_next: u64,
}

impl Common {
    /// The market. Within the runtime, because generated ticks need one; the catalog is read beside it.
    async fn market(&self) -> anyhow::Result<Arc<dyn Market>> {
        if let Some(data) = self.data.clone() {
            let open = move || -> anyhow::Result<_> {
                Stored::open(Catalog::open(&data)?).map_err(anyhow::Error::msg)
            };
            return Ok(Arc::new(tokio::task::spawn_blocking(open).await??));
        }
        let mut options = GeneratedOptions {
            seed: self.seed,
            hours: self.hours,
            start: self.start,
            speed: self.speed,
            ..GeneratedOptions::default()
        };
        if !self.symbols.is_empty() {
            options.symbols.clone_from(&self.symbols);
        }
        Ok(Arc::new(Generated::start(&options)?))
    }

    fn misbehaviour(&self) -> Misbehaviour {
        Misbehaviour { refuse_next: self.refuse_next, fail_next: self.fail_next, ..Misbehaviour::default() }
    }
}

/// Runs the command until it is interrupted.
///
/// # Errors
/// When the market can't be made or the address can't be listened on.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let server = match &args.vendor {
            Vendor::Alphavantage(args) => args.start().await?,
            Vendor::Yahoo(args) => args.start().await?,
        };
        serve(server).await
    })?;
    // A catalog that is being read on a blocking thread is not waited for.
    runtime.shutdown_background();
    Ok(ExitCode::SUCCESS)
}

async fn serve(server: Server) -> anyhow::Result<()> {
    {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}", server.http())?;
        out.flush()?;
    }
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .context("waiting for signals")?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminate.recv() => {}
    }
    server.stop().await;
    Ok(())
}

/// A symbol of the command line.
fn symbol(text: &str) -> Result<Symbol, tradeflow_model::ValueError> {
    Symbol::new(text)
}
