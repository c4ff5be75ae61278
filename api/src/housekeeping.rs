//! What is done now and then: signals that were not executed to the end, limits of those who are gone, and old entries of logs.

use std::time::Duration;

use tradeflow_state::trading::Which;

use crate::context::Context;
use crate::routes::signals;
use crate::routes::strategies::account::note_configured;

/// How often it looks for signals that wait, and for whom it counts in vain.
const EVERY: Duration = Duration::from_secs(5);
/// A signal that was queued so long ago was left by someone who is gone, in nanoseconds.
const LEFT: i64 = 20_000_000_000;
const DAY: i64 = 86_400 * 1_000_000_000;
/// Entries are kept for so long.
const KEPT: [i64; 2] = [30 * DAY, 90 * DAY];

/// Runs for as long as the server does.
pub(crate) async fn run(shared: Context) {
    const TRIM_EVERY: u32 = 3600 / EVERY.as_secs() as u32;
    note_configured(&shared).await;
    let mut ticks = tokio::time::interval(EVERY);
    for round in 0_u32.. {
        ticks.tick().await;
        shared.limits.sweep();
        resume(&shared).await;
        if round.is_multiple_of(TRIM_EVERY) {
            trim(&shared).await;
        }
    }
}

/// Executes what was left; a cell does what it was told once.
async fn resume(shared: &Context) {
    let queued = ["queued".to_owned()];
    let until = Which { to: Some(shared.now().as_nanos() - LEFT), ..Which::default() };
    // While the database is away, there is nothing to do.
    let Ok(left) = shared.state.signals(until, Some(&queued), None, 100).await else { return };
    let since = shared.now().as_nanos() - LEFT;
    // One that someone had executed a moment ago is still his.
    for row in left.into_iter().filter(|row| row.decided.is_none_or(|at| at < since)) {
        let _ = signals::run(shared, row).await; // what came of it stands with the signal
    }
}

/// Webhooks' entries and the system log are kept for 30 days, the audit log and what alerts told for 90.
async fn trim(shared: &Context) {
    let before = |age: i64| tradeflow_model::Timestamp::from_nanos(shared.now().as_nanos() - age);
    let webhooks = shared.state.trim_webhooks(before(KEPT[0]), before(2 * DAY)).await;
    let system = shared.state.trim_system_log(before(KEPT[0])).await;
    let audit = shared.state.trim_audit(before(KEPT[1])).await;
    let alerts = shared.state.trim_alert_events(before(KEPT[1])).await;
    match (webhooks, system, audit, alerts) {
        (Ok(0), Ok(0), Ok(0), Ok(0)) => {}
        (Ok(webhooks), Ok(system), Ok(audit), Ok(alerts)) => {
            tracing::info!(webhooks, system, audit, alerts, "old entries of logs were removed");
        }
        (Err(error), ..) | (_, Err(error), ..) | (_, _, Err(error), _) | (.., Err(error)) => {
            tracing::warn!(%error, "old entries of logs");
        }
    }
}
