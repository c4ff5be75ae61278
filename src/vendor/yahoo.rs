//! `tradeflow vendor yahoo`.

use tradeflow_ingest::vendor::Server;
use tradeflow_ingest::yahoo::server;

use super::Common;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    common: Common,
}

impl Args {
    pub(super) async fn start(&self) -> anyhow::Result<Server> {
        let market = self.common.market().await?;
        Ok(server::start(market, self.common.misbehaviour(), self.common.listen).await?)
    }
}
