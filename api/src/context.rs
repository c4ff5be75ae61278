//! What all requests share.

use std::sync::Arc;
use std::time::Duration;

use actix_web::web;
use moka::sync::Cache;
use tradeflow_live::SessionPlan;
use tradeflow_model::Timestamp;
use tradeflow_results::{ParquetRuns, RunStore};
use tradeflow_state::{Identity, Lifetimes, State, StateError};

use crate::commander::Commander;
use crate::jobs::JobsConfig;
use crate::limits::Limits;
use crate::socket::Hub;
use crate::source::NodeSource;

/// How the API is run.
#[derive(Debug, Clone)]
pub struct ApiConfig {
    /// Whether anyone may register, or the first user alone.
    pub registration: bool,
    /// How long tokens are good for.
    pub lifetimes: Lifetimes,
    /// Whether cookies are sent over TLS alone.
    pub secure_cookies: bool,
    /// Requests a second that a user or a key may make, and as many again at once.
    pub requests_per_second: u32,
    /// Requests a second from an address without a user.
    pub anonymous_per_second: u32,
    /// Whether the status is shown without a log-in to whoever asks from this machine.
    pub local_status: bool,
    /// Attempts a minute to log in, register or reset a password, from one address.
    pub attempts_per_minute: u32,
}

impl Default for ApiConfig {
    fn default() -> Self {
        const SECOND: i64 = 1_000_000_000;
        Self {
            registration: true,
            lifetimes: Lifetimes { access: 900 * SECOND, refresh: 30 * 86_400 * SECOND },
            secure_cookies: false,
            local_status: true,
            requests_per_second: 200,
            anonymous_per_second: 50,
            attempts_per_minute: 30,
        }
    }
}

/// What all requests share.
pub struct Shared {
    /// The node.
    pub node: Arc<dyn NodeSource>,
    /// Users and what they keep.
    pub state: State,
    /// Commands to cells.
    pub commander: Commander,
    /// What changes, for those who follow it.
    pub hub: Arc<Hub>,
    /// How jobs are done.
    pub jobs: JobsConfig,
    /// What came of backtests.
    pub runs: Arc<dyn RunStore>,
    /// How it is run.
    pub config: ApiConfig,
    pub(crate) limits: Limits,
    /// Whose token it is, for a moment: a request need not ask the database each time. A token that was taken back is
    /// forgotten here at once, and by other nodes within this time.
    pub(crate) known: Cache<blake3::Hash, Arc<Identity>>,
}

/// [`Shared`], as handlers take it.
pub(crate) type Context = web::Data<Shared>;

/// For so long, and so many.
const KNOWN: (Duration, u64) = (Duration::from_secs(5), 10_000);

impl Shared {
    /// Puts it together.
    pub fn new(
        node: Arc<dyn NodeSource>,
        state: State,
        commander: Commander,
        hub: Arc<Hub>,
        jobs: JobsConfig,
        config: ApiConfig,
    ) -> Self {
        let known = Cache::builder().time_to_live(KNOWN.0).max_capacity(KNOWN.1).build();
        let limits = Limits::new(&config);
        let runs: Arc<dyn RunStore> = Arc::new(ParquetRuns::new(jobs.results.clone()));
        Self { node, state, commander, hub, jobs, runs, config, limits, known }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.node.now()
    }

    /// Whose token it is, where that was asked a moment ago.
    pub(crate) fn known_now(&self, token: &str) -> Option<Arc<Identity>> {
        let now = self.now();
        self.known.get(&blake3::hash(token.as_bytes())).filter(|identity| identity.expires >= now)
    }

    /// Whose token it is.
    pub(crate) async fn identify(&self, token: &str) -> Result<Option<Arc<Identity>>, StateError> {
        let found = self.state.identify(self.now(), token).await?.map(Arc::new);
        if let Some(identity) = &found {
            self.known.insert(blake3::hash(token.as_bytes()), identity.clone());
        }
        Ok(found)
    }

    pub(crate) fn plan(&self) -> Arc<SessionPlan> {
        self.node.plan()
    }
}
