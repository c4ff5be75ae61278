//! `tradeflow vendor`: a vendor's protocol on this machine, for demonstrations and tests without a key.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | the command: runs a server until it is interrupted |
//! | `market.rs` | the market that is served: generated, a catalog at rest, or a day of it once more |
//! | `faults.rs` | what goes wrong from the start |
//! | `alphavantage.rs`, `binance.rs`, `finnhub.rs`, `yahoo.rs` | each vendor's own flags |

mod alphavantage;
mod binance;
mod faults;
mod finnhub;
mod market;
mod yahoo;

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Context;
use tradeflow_ingest::vendor::Server;

const EXAMPLES: &str = "\
Examples:
  tradeflow vendor binance
  tradeflow vendor finnhub --data data/catalog --speed 100 --hold
  tradeflow vendor yahoo --help

On standard output is the address once it listens, as the file of `tradeflow
serve` takes it. What goes wrong can be changed while it runs: see the help of
each vendor.";

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
    /// Binance: streams of trades and best prices; bars and the rest of the public market data.
    Binance(binance::Args),
    /// Finnhub: the stream of trades, quotes, and the bars of paid plans.
    Finnhub(finnhub::Args),
    /// Yahoo Finance: charts and quotes.
    Yahoo(yahoo::Args),
}

/// Where a vendor listens.
#[derive(Debug, clap::Args)]
struct Listen {
    /// Address to listen on; port 0 for a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
}

/// A vendor that listens, and what is printed of it.
struct Running {
    server: Server,
    /// Lines for the file of `tradeflow serve`, or the bare address of a vendor that it has no feed for.
    printed: String,
}

/// Runs the command until it is interrupted.
///
/// # Errors
/// When the market can't be made or the address can't be listened on.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(async {
        let running = match &args.vendor {
            Vendor::Alphavantage(args) => args.start().await?,
            Vendor::Binance(args) => args.start().await?,
            Vendor::Finnhub(args) => args.start().await?,
            Vendor::Yahoo(args) => args.start().await?,
        };
        serve(running).await
    });
    // A catalog that is being read on a blocking thread is not waited for.
    runtime.shutdown_background();
    done.map(|()| ExitCode::SUCCESS)
}

async fn serve(Running { server, printed }: Running) -> anyhow::Result<()> {
    // Before the address is told: who has read it may interrupt.
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .context("waiting for signals")?;
    {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{printed}")?;
        out.flush()?;
    }
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminate.recv() => {}
    }
    server.stop().await;
    Ok(())
}
