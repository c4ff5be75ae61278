//! What all requests share.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::web;
use moka::sync::Cache;
use tokio_util::sync::CancellationToken;
use tradeflow_live::SessionPlan;
use tradeflow_model::Timestamp;
use tradeflow_results::{ClickHouseRuns, ParquetRuns, RunStore};
use tradeflow_state::{Identity, KeyRing, Lifetimes, State, StateError};

use crate::alerts::Alerts;
use crate::bars::MarketData;
use crate::commander::Commander;
use crate::jobs::JobsConfig;
use crate::limits::Limits;
use crate::mail::Mail;
use crate::oidc::Oidc;
use crate::socket::Hub;
use crate::source::NodeSource;
use crate::system_log::SystemLogQueue;
use crate::tls::TlsConfig;

/// How the API is run.
#[derive(Debug, Clone)]
pub struct ApiConfig {
    /// Whether anyone may register, or the first user alone.
    pub registration: bool,
    /// How long tokens are good for.
    pub lifetimes: Lifetimes,
    /// Whether cookies are sent over TLS alone.
    pub secure_cookies: bool,
    /// Certificate and key of a server that speaks TLS itself.
    pub tls: Option<TlsConfig>,
    /// Pages elsewhere that may ask with their users' log-ins: `https://app.example.org`.
    pub cors_origins: Vec<String>,
    /// Where users find the server, `https://trade.example.org`: for links in mail, and for providers of log-ins.
    pub public_url: Option<String>,
    /// Requests a second that a user or a key may make, and as many again at once.
    pub requests_per_second: u32,
    /// Requests a second from an address without a user.
    pub anonymous_per_second: u32,
    /// Whether the status is shown without a log-in to whoever asks from this machine.
    pub local_status: bool,
    /// Attempts a minute to log in, register or reset a password, from one address.
    pub attempts_per_minute: u32,
    /// Whether webhooks of alerts may go to this machine and into its network.
    pub alert_private_addresses: bool,
}

impl Default for ApiConfig {
    fn default() -> Self {
        const SECOND: i64 = 1_000_000_000;
        Self {
            registration: true,
            lifetimes: Lifetimes { access: 900 * SECOND, refresh: 30 * 86_400 * SECOND },
            secure_cookies: false,
            local_status: true,
            public_url: None,
            tls: None,
            cors_origins: Vec::new(),
            requests_per_second: 200,
            anonymous_per_second: 50,
            attempts_per_minute: 30,
            alert_private_addresses: false,
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
    /// Where market data is.
    pub market: MarketData,
    /// What came of backtests.
    pub runs: Arc<dyn RunStore>,
    /// How it is run.
    pub config: ApiConfig,
    /// Mail to users.
    pub mail: Mail,
    /// What the node says of itself, until the server writes it.
    pub(crate) system_log: Mutex<Option<SystemLogQueue>>,
    /// Providers of log-ins.
    pub oidc: Oidc,
    /// With which secrets are sealed.
    pub keys: KeyRing,
    /// What wakes those who watch alerts.
    pub(crate) alerts: Alerts,
    pub(crate) limits: Limits,
    /// Whether the server is to end.
    pub(crate) ends: CancellationToken,
    /// Whose token it is, for a moment: a request need not ask the database each time. A token that was taken back is
    /// forgotten here at once, and by other nodes within this time.
    pub(crate) known: Cache<blake3::Hash, Arc<Identity>>,
}

/// [`Shared`], as handlers take it.
pub(crate) type Context = web::Data<Shared>;

/// For so long a request waits for ClickHouse.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// For so long, and so many.
const KNOWN: (Duration, u64) = (Duration::from_secs(5), 10_000);

impl Shared {
    /// Puts it together.
    pub fn new(
        node: Arc<dyn NodeSource>,
        state: State,
        commander: Commander,
        hub: Arc<Hub>,
        market: MarketData,
        jobs: JobsConfig,
        config: ApiConfig,
    ) -> Self {
        let known = Cache::builder().time_to_live(KNOWN.0).max_capacity(KNOWN.1).build();
        let limits = Limits::new(&config);
        let runs: Arc<dyn RunStore> = match &jobs.clickhouse {
            Some(url) => Arc::new(ClickHouseRuns::at(url, PATIENCE)),
            None => Arc::new(ParquetRuns::new(jobs.results.clone())),
        };
        let (mail, system_log, keys) = (Mail::default(), Mutex::default(), KeyRing::default());
        let (oidc, alerts) = (Oidc::default(), Alerts::default());
        Self {
            node,
            state,
            commander,
            hub,
            market,
            jobs,
            runs,
            config,
            mail,
            system_log,
            oidc,
            alerts,
            keys,
            limits,
            ends: CancellationToken::new(),
            known,
        }
    }

    /// With mail by a server; without it letters stand in the log.
    #[must_use]
    pub fn with_mail(self, mail: Mail) -> Self {
        Self { mail, ..self }
    }

    /// With what the node says of itself.
    #[must_use]
    pub fn with_system_log(self, queue: SystemLogQueue) -> Self {
        Self { system_log: Mutex::new(Some(queue)), ..self }
    }

    /// With providers of log-ins.
    pub fn with_oidc(self, oidc: Oidc) -> Self {
        Self { oidc, ..self }
    }

    /// With keys to seal secrets; without them, none can be kept.
    pub fn with_keys(self, keys: KeyRing) -> Self {
        Self { keys, ..self }
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
