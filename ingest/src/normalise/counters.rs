//! What becomes of updates, counted.
//!
//! `received = published + shed + bad + duplicates + late + shown + excluded + pending`: nothing goes missing without a
//! count. The right side is complete once the feed has flushed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tradeflow_bus::BusError;

use crate::feed::FeedStatus;

/// The counters of one feed, for `/metrics` and people. The feed's [`FeedStatus`] gets its share of them: `trades`,
/// `quotes`, `bad`, `duplicates`, `late` and `shed` are counted here and nowhere else.
#[derive(Debug)]
pub struct Counters {
    source: String,
    status: Arc<FeedStatus>,
    totals: Totals,
    bad_by_reason: Mutex<BTreeMap<String, u64>>,
    degraded: AtomicBool,
}

macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// The counts at one moment.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
        pub struct Counts {
            $($(#[$doc])* pub $name: u64,)*
        }

        #[derive(Debug, Default)]
        struct Totals {
            $($name: AtomicU64,)*
        }

        impl Totals {
            fn counts(&self) -> Counts {
                Counts { $($name: self.$name.load(Ordering::Relaxed),)* }
            }

            fn add(&self, more: &Counts) {
                $(if more.$name > 0 { self.$name.fetch_add(more.$name, Ordering::Relaxed); })*
            }
        }
    };
}

counts!(
    /// Updates that the feed reported, and messages that it could not understand.
    received,
    /// Trades among them.
    trades,
    /// Quotes among them.
    quotes,
    /// Rows that the bus has confirmed.
    published,
    /// Rows that were left out: by pressure, or because the bus did not take them.
    shed,
    /// Of those, quotes and trades that a newer one of the same burst replaced.
    conflated,
    /// Updates that make no sense, and messages that could not be understood.
    bad,
    /// Trades that had come before.
    duplicates,
    /// Events older than the newest of their series by more than they may be.
    late,
    /// Updates for the quote board alone: prices without a trade, and all that a polled source gives.
    shown,
    /// Trades that their conditions exclude.
    excluded,
    /// Rows on their way to the bus.
    pending,
    /// Quotes with a bid above the ask, passed on.
    crossed,
    /// Quantities finer than the instrument's scale, rounded down.
    floored,
    /// Writes that the bus did not take.
    publish_errors,
);

impl Counts {
    /// What has become of updates: equals [`Self::received`] once the feed has flushed.
    pub fn accounted(&self) -> u64 {
        self.published
            + self.shed
            + self.bad
            + self.duplicates
            + self.late
            + self.shown
            + self.excluded
            + self.pending
    }
}

/// Reasons for which an update can be bad are few; those that feeds give are text, so there is a limit.
const REASONS_MAX: usize = 64;
const OTHER: &str = "other";

impl Counters {
    /// Counters of the feed of this name.
    pub fn new(source: &str, status: Arc<FeedStatus>) -> Arc<Self> {
        let bad_by_reason = Mutex::default();
        let degraded = AtomicBool::new(false);
        Arc::new(Self {
            source: source.to_owned(),
            status,
            totals: Totals::default(),
            bad_by_reason,
            degraded,
        })
    }

    /// The feed.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The counts now. Those of a feed that runs are as of its last flush.
    pub fn counts(&self) -> Counts {
        self.totals.counts()
    }

    /// How many were bad, by reason; at most 64 reasons and `other`.
    pub fn bad_by_reason(&self) -> BTreeMap<String, u64> {
        self.bad_by_reason.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the bus does not take what is published.
    pub fn is_degraded(&self) -> bool {
        self.degraded.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, more: &Counts) {
        self.totals.add(more);
        let status = &self.status;
        for (counter, count) in [
            (&status.trades, more.trades),
            (&status.quotes, more.quotes),
            (&status.bad, more.bad),
            (&status.duplicates, more.duplicates),
            (&status.late, more.late),
            (&status.shed, more.shed),
        ] {
            if count > 0 {
                counter.fetch_add(count, Ordering::Relaxed);
            }
        }
    }

    /// Counts the reason of a bad one; the reason as it is counted.
    pub(crate) fn add_reason<'a>(&self, reason: &'a str) -> &'a str {
        let mut reasons = self.bad_by_reason.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = reasons.get_mut(reason) {
            *count += 1;
            return reason;
        }
        let reason = if reasons.len() < REASONS_MAX { reason } else { OTHER };
        *reasons.entry(reason.to_owned()).or_default() += 1;
        reason
    }

    pub(crate) fn add_published(&self, rows: usize) {
        self.totals.published.fetch_add(rows as u64, Ordering::Relaxed);
    }

    pub(crate) fn add_shed(&self, rows: usize) {
        if rows > 0 {
            self.add(&Counts { shed: rows as u64, ..Counts::default() });
        }
    }

    pub(crate) fn add_publish_error(&self, error: &BusError) {
        self.totals.publish_errors.fetch_add(1, Ordering::Relaxed);
        self.status.set_error(error.to_string());
    }

    pub(crate) fn set_pending(&self, rows: usize) {
        self.totals.pending.store(rows as u64, Ordering::Relaxed);
    }

    /// The bus does not take what is published, or does again.
    pub fn set_degraded(&self, degraded: bool) {
        self.degraded.store(degraded, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_bounded() {
        let counters = Counters::new("test", Arc::default());
        for reason in 0..100 {
            counters.add_reason(&format!("reason {reason}"));
        }
        counters.add_reason("reason 3");
        let reasons = counters.bad_by_reason();
        assert_eq!(reasons.len(), REASONS_MAX + 1);
        assert_eq!((reasons["reason 3"], reasons[OTHER]), (2, 36));
    }
}
