//! The points of the equity curve.
//!
//! Time is cut into intervals, each without its start and with its end. A point is the state after the last event of
//! an interval, stamped with that event's time; intervals without events have none. A run over one-minute bars with an
//! interval of a minute so has one point a bar.

use serde::{Deserialize, Serialize};
use tradeflow_model::{DigestWriter, Timestamp};

use crate::account::Account;
use crate::output::{EquityColumns, EquityPoint, Fold};

/// Where the curve stands.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct EquityCurve {
    interval_ns: i64,
    /// Last event of the interval that is running; `None` before the first.
    last: Option<i64>,
    /// End of that interval.
    until: i64,
    /// Whether `until` is an end of an interval, and not yet the run's start.
    aligned: bool,
}

impl EquityCurve {
    pub(super) fn new(interval_ns: i64, from: Timestamp) -> Self {
        Self { interval_ns: interval_ns.max(1), last: None, until: from.as_nanos(), aligned: false }
    }

    /// An event at `ts` is about to change the account: if it is in a new interval, the last one gets its point.
    #[inline]
    pub(super) fn before(
        &mut self,
        ts: Timestamp,
        account: &Account,
        columns: &mut EquityColumns,
        digest: &mut DigestWriter,
    ) {
        let ts = ts.as_nanos();
        if ts > self.until {
            self.flush(account, columns, digest);
            self.until = self.end_of_interval(ts);
            self.aligned = true;
        }
        self.last = Some(ts);
    }

    /// End of the interval that `ts` lies in. Ends are multiples of the length, so that from one to the next it takes no
    /// division.
    #[inline]
    fn end_of_interval(&self, ts: i64) -> i64 {
        if self.aligned && ts - self.until <= self.interval_ns {
            return self.until.saturating_add(self.interval_ns);
        }
        let into = (ts - 1).rem_euclid(self.interval_ns);
        (ts - 1 - into).saturating_add(self.interval_ns)
    }

    /// Gives the interval that is running its point.
    #[inline]
    pub(super) fn flush(
        &mut self,
        account: &Account,
        columns: &mut EquityColumns,
        digest: &mut DigestWriter,
    ) {
        let Some(ts_event) = self.last.take() else { return };
        let point = EquityPoint {
            ts_event,
            cash: account.ledger().cash().raw(),
            equity: account.ledger().equity().raw(),
        };
        point.fold(digest);
        columns.ts_event.push(point.ts_event);
        columns.cash.push(point.cash);
        columns.equity.push(point.equity);
    }
}
