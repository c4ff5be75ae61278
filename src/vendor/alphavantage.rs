//! `tradeflow vendor alphavantage`.

use tradeflow_ingest::Secret;
use tradeflow_ingest::alphavantage::server::{self, ServerOptions};
use tradeflow_ingest::vendor::Server;

use super::Common;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    common: Common,
    /// The key that it takes.
    #[arg(long, default_value = "demo")]
    key: String,
    /// A paid plan: intraday bars, adjusted days and full history, without limits of requests.
    #[arg(long)]
    premium: bool,
    /// Requests a day, instead of the 25 of the free plan.
    #[arg(long)]
    per_day: Option<u64>,
}

impl Args {
    pub(super) async fn start(&self) -> anyhow::Result<Server> {
        let key = Secret::new(self.key.as_str());
        let mut options = if self.premium { ServerOptions::premium(key) } else { ServerOptions::free(key) };
        options.per_day = self.per_day.or(options.per_day);
        let market = self.common.market().await?;
        Ok(server::start(market, options, self.common.misbehaviour(), self.common.listen).await?)
    }
}
