//! `tradeflow vendor finnhub`.

use tradeflow_ingest::Secret;
use tradeflow_ingest::finnhub::server::{self, ServerOptions};

use super::faults::StreamFaults;
use super::market::Source;
use super::{Listen, Running};

const EXAMPLES: &str = "\
Examples:
  tradeflow vendor finnhub --listen 127.0.0.1:4711 --premium
  tradeflow vendor finnhub --listen 127.0.0.1:4711 --data data/catalog \\
    --speed 100 --hold
With the first of them running:
  curl 'http://127.0.0.1:4711/api/v1/quote?symbol=AAPL&token=demo'
  TRADEFLOW_FINNHUB_KEY=demo tradeflow fetch finnhub OANDA:EUR_USD \\
    --from 2024-01-01 --to 2024-02-01 --interval 1h \\
    --base-url http://127.0.0.1:4711

Symbols are written as Finnhub does: AAPL, OANDA:EUR_USD, BINANCE:BTCUSDT (which
is BTCUSD of the market). What is printed goes into the file of `tradeflow serve`.

What goes wrong can be changed while it runs; what is not named is off:
  curl -X PUT http://127.0.0.1:4711/_control \\
    -H 'content-type: application/json' -d '{\"garbage_every\": 10}'";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    listen: Listen,
    /// The key that it takes.
    #[arg(long, default_value = "demo")]
    key: String,
    /// A paid plan: one that has bars.
    #[arg(long)]
    premium: bool,
    #[command(flatten)]
    market: Source,
    /// Begin the day of --data when a client has subscribed to something, a second later; until then time stands still.
    #[arg(long, requires = "data", help_heading = "Market")]
    hold: bool,
    #[command(flatten)]
    faults: StreamFaults,
}

impl Args {
    pub(super) async fn start(&self) -> anyhow::Result<Running> {
        let options =
            ServerOptions { premium: self.premium, ..ServerOptions::free(Secret::new(self.key.as_str())) };
        let market = self.market.live(self.hold).await?;
        let server = server::start(market, options, self.faults.misbehaviour(), self.listen.listen).await?;
        let (ws, http) = (server.ws(), server.http());
        let printed = format!("[feeds.finnhub]\nurl = \"{ws}\"\nrest_url = \"{http}/api/v1\"");
        Ok(Running { server, printed })
    }
}
