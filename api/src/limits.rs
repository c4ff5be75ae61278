//! How many requests a user, a key or an address may make.

use std::net::IpAddr;
use std::num::NonZeroU32;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};

use crate::context::ApiConfig;

type Limiter<K> = RateLimiter<K, DashMapStateStore<K>, DefaultClock, StateInformationMiddleware>;

/// The limiters.
pub struct Limits {
    users: Limiter<String>,
    addresses: Limiter<IpAddr>,
    attempts: Limiter<IpAddr>,
    mails: Limiter<String>,
    clock: DefaultClock,
}

/// What is left to someone.
#[derive(Debug, Clone, Copy)]
pub struct Left {
    /// At most at once.
    pub limit: u32,
    /// Of these still.
    pub remaining: u32,
}

/// Letters an hour that anyone may have sent to a user, and as many at once: no one's letter box is flooded.
const MAILS_PER_HOUR: NonZeroU32 = const { NonZeroU32::new(6).unwrap() };

impl Limits {
    /// As configured.
    pub fn new(config: &ApiConfig) -> Self {
        let quota = |per_second: u32| {
            let rate = NonZeroU32::new(per_second).unwrap_or(NonZeroU32::MIN);
            Quota::per_second(rate).allow_burst(rate.saturating_mul(const { NonZeroU32::new(2).unwrap() }))
        };
        let attempts = NonZeroU32::new(config.attempts_per_minute).unwrap_or(NonZeroU32::MIN);
        Self {
            users: RateLimiter::dashmap(quota(config.requests_per_second)).with_middleware(),
            addresses: RateLimiter::dashmap(quota(config.anonymous_per_second)).with_middleware(),
            attempts: RateLimiter::dashmap(Quota::per_minute(attempts)).with_middleware(),
            mails: RateLimiter::dashmap(Quota::per_hour(MAILS_PER_HOUR)).with_middleware(),
            clock: DefaultClock::default(),
        }
    }

    /// A request of a user or key.
    ///
    /// # Errors
    /// After how many seconds the next is taken.
    pub fn user(&self, id: &str) -> Result<Left, u64> {
        self.check(&self.users, &id.to_owned())
    }

    /// A request of no one who is known.
    ///
    /// # Errors
    /// As [`Self::user`].
    pub fn address(&self, address: IpAddr) -> Result<Left, u64> {
        self.check(&self.addresses, &address)
    }

    /// An attempt to log in, to register, to reset a password.
    ///
    /// # Errors
    /// As [`Self::user`].
    pub fn attempt(&self, address: IpAddr) -> Result<Left, u64> {
        self.check(&self.attempts, &address)
    }

    /// A letter to a user, which anyone can ask for.
    ///
    /// # Errors
    /// As [`Self::user`].
    pub fn mail(&self, user: &str) -> Result<Left, u64> {
        self.check(&self.mails, &user.to_owned())
    }

    /// Forgets those of whom nothing was heard for a while: they have all that they may make.
    pub(crate) fn sweep(&self) {
        self.users.retain_recent();
        self.addresses.retain_recent();
        self.attempts.retain_recent();
        self.mails.retain_recent();
    }

    fn check<K: std::hash::Hash + Eq + Clone>(&self, limiter: &Limiter<K>, key: &K) -> Result<Left, u64> {
        match limiter.check_key(key) {
            Ok(state) => Ok(Left {
                limit: state.quota().burst_size().get(),
                remaining: state.remaining_burst_capacity(),
            }),
            Err(until) => Err(until.wait_time_from(self.clock.now()).as_secs() + 1),
        }
    }
}
