//! `tradeflow vendor yahoo`.

use tradeflow_ingest::yahoo::server;

use super::faults::RequestFaults;
use super::market::Source;
use super::{Listen, Running};

const EXAMPLES: &str = "\
Examples:
  tradeflow vendor yahoo --listen 127.0.0.1:4711
  tradeflow vendor yahoo --listen 127.0.0.1:4711 --data data/catalog
With the first of them running:
  curl 'http://127.0.0.1:4711/v8/finance/chart/SPY?range=5d&interval=1d'
  tradeflow fetch yahoo SPY BTC-USD --from 2024-01-01 \\
    --to 2024-03-01 --base-url http://127.0.0.1:4711

What goes wrong can be changed while it runs; what is not named is off:
  curl -X PUT http://127.0.0.1:4711/_control \\
    -H 'content-type: application/json' -d '{\"refuse_next\": 3}'";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    listen: Listen,
    #[command(flatten)]
    market: Source,
    #[command(flatten)]
    faults: RequestFaults,
}

impl Args {
    pub(super) async fn start(&self) -> anyhow::Result<Running> {
        let market = self.market.history().await?;
        let server = server::start(market, self.faults.misbehaviour(), self.listen.listen).await?;
        let printed = format!("[feeds.yahoo]\nurl = \"{}\"", server.http());
        Ok(Running { server, printed })
    }
}
