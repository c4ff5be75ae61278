//! `tradeflow vendor binance`.

use tradeflow_ingest::binance::server::{self, ServerOptions};
use tradeflow_ingest::vendor::Control;

use super::faults::StreamFaults;
use super::market::Source;
use super::{Listen, Running};

const EXAMPLES: &str = "\
Examples:
  tradeflow vendor binance --listen 127.0.0.1:4711
  tradeflow vendor binance --listen 127.0.0.1:4711 --data data/catalog \\
    --speed 100 --hold
With the first of them running:
  curl 'http://127.0.0.1:4711/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=3'
  tradeflow fetch binance BTCUSDT --from 2024-01-01 --to 2024-02-01 \\
    --interval 1h --base-url http://127.0.0.1:4711

Symbols are written as Binance does, shares too: BTCUSD of the market is BTCUSDT
here. What is printed goes into the file of `tradeflow serve`.

What goes wrong can be changed while it runs; what is not named is off:
  curl -X PUT http://127.0.0.1:4711/_control \\
    -H 'content-type: application/json' -d '{\"garbage_every\": 10}'";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    listen: Listen,
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
        let market = self.market.live(self.hold).await?;
        let control = Control::new(self.faults.misbehaviour());
        let server = server::start(self.listen.listen, market, &control, ServerOptions::default()).await?;
        let (ws, http) = (server.ws(), server.http());
        let printed = format!("[feeds.binance]\nurl = \"{ws}\"\nrest_url = \"{http}\"");
        Ok(Running { server, printed })
    }
}
