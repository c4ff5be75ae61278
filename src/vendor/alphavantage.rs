//! `tradeflow vendor alphavantage`.

use tradeflow_ingest::Secret;
use tradeflow_ingest::alphavantage::server::{self, ServerOptions};

use super::faults::RequestFaults;
use super::market::Source;
use super::{Listen, Running};

const EXAMPLES: &str = "\
Examples:
  tradeflow vendor alphavantage --listen 127.0.0.1:4711 --premium
  tradeflow vendor alphavantage --listen 127.0.0.1:4711 --data data/catalog
With the first of them running:
  curl \\
    'http://127.0.0.1:4711/query?function=GLOBAL_QUOTE&symbol=SPY&apikey=demo'
  TRADEFLOW_ALPHAVANTAGE_KEY=demo tradeflow fetch alphavantage SPY \\
    --from 2024-01-01 --base-url http://127.0.0.1:4711

What goes wrong can be changed while it runs; what is not named is off:
  curl -X PUT http://127.0.0.1:4711/_control \\
    -H 'content-type: application/json' -d '{\"refuse_next\": 3}'";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    listen: Listen,
    /// The key that it takes.
    #[arg(long, default_value = "demo")]
    key: String,
    /// A paid plan: intraday bars, adjusted days and full history, without limits of requests.
    #[arg(long)]
    premium: bool,
    /// Requests a day, instead of the 25 of the free plan.
    #[arg(long)]
    per_day: Option<u64>,
    #[command(flatten)]
    market: Source,
    #[command(flatten)]
    faults: RequestFaults,
}

impl Args {
    pub(super) async fn start(&self) -> anyhow::Result<Running> {
        let key = Secret::new(self.key.as_str());
        let mut options = if self.premium { ServerOptions::premium(key) } else { ServerOptions::free(key) };
        options.per_day = self.per_day.or(options.per_day);
        let market = self.market.history().await?;
        let server = server::start(market, options, self.faults.misbehaviour(), self.listen.listen).await?;
        let printed = server.http();
        Ok(Running { server, printed })
    }
}
