//! The market that a vendor serves.

use std::sync::Arc;

use anyhow::bail;
use tradeflow_ingest::vendor::{Generated, GeneratedOptions, Market, Replayed, ReplayedOptions, Stored};
use tradeflow_model::{Symbol, Timestamp};
use tradeflow_storage::catalog::Catalog;

/// The market: generated, or of a catalog.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Market")]
pub(super) struct Source {
    /// Serve this catalog (folder or URL) instead of a generated market.
    #[arg(long, value_name = "DIR_OR_URL")]
    data: Option<String>,
    /// A day of the catalog (UTC) that is served as if it were today, such as 2024-01-04.
    #[arg(long, requires = "data")]
    day: Option<Timestamp>,
    /// How fast the market's time goes: 60 for a minute a second.
    #[arg(long, value_name = "TIMES", default_value_t = 1.0)]
    speed: f64,
    /// Symbols of the generated market, or of the day that is served, with commas; all when left out.
    #[arg(long, value_delimiter = ',', value_parser = symbol)]
    symbols: Vec<Symbol>,
    /// Seed of the generated market.
    #[arg(long, default_value_t = 1, conflicts_with = "data")]
    seed: u64,
    /// Trades and quotes a second of the generated market, over all symbols together.
    #[arg(long, default_value_t = 100, conflicts_with = "data")]
    rate: u32,
    /// Keep the trading hours of each class in the generated market; otherwise it trades round the clock.
    #[arg(long, conflicts_with = "data")]
    hours: bool,
    /// Time of the generated market when it starts; the machine's when left out.
    #[arg(long, conflicts_with = "data")]
    start: Option<Timestamp>,
}

impl Source {
    /// The market of a vendor that has history alone: a catalog is at rest, unless a day of it is named.
    pub(super) async fn history(&self) -> anyhow::Result<Arc<dyn Market>> {
        match &self.data {
            Some(data) if self.day.is_none() => {
                if self.speed != 1.0 || !self.symbols.is_empty() {
                    bail!(
                        "--speed and --symbols go with --day: without a day the whole catalog is served, at rest"
                    );
                }
                let data = data.clone();
                let open = move || -> anyhow::Result<_> {
                    Stored::open(Catalog::open(&data)?).map_err(anyhow::Error::msg)
                };
                Ok(Arc::new(tokio::task::spawn_blocking(open).await??))
            }
            _ => self.live(false).await,
        }
    }

    /// The market of a vendor with a stream: of a catalog the day that was named, or its last one. `hold`: the day
    /// waits for a client that subscribes.
    pub(super) async fn live(&self, hold: bool) -> anyhow::Result<Arc<dyn Market>> {
        if let Some(data) = self.data.clone() {
            let catalog = tokio::task::spawn_blocking(move || Catalog::open(&data)).await??;
            let options =
                ReplayedOptions { symbols: self.symbols.clone(), day: self.day, speed: self.speed, hold };
            return Ok(Arc::new(Replayed::start(catalog, options).await?));
        }
        let mut options = GeneratedOptions {
            seed: self.seed,
            rate: self.rate,
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
}

/// A symbol of the command line.
fn symbol(text: &str) -> Result<Symbol, tradeflow_model::ValueError> {
    Symbol::new(text)
}
