//! Alerts: someone is told when a price, a fill, an account or a feed is as he said.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | the tasks: look, write, keep, tell |
//! | `rule.rs` | [`rule::Rule`]: the conditions, and the decision |
//! | `engine.rs` | the alerts that are watched, and what they see |
//! | `message.rs` | what is told |
//! | `delivery.rs` | mails and webhooks |
//! | `address.rs` | where a webhook may go to |
//!
//! # Invariants
//! - Looking at quotes, fills, accounts and feeds asks no database; whatever does runs beside it.
//! - Prices are looked at where the feeds run, accounts where their cells run; what other nodes tell of theirs is passed
//!   over, for it is late.
//! - An alert goes off once among all nodes ([`tradeflow_state::State::fire_alert`]), for a user who may see what it is about
//!   at that moment.
//! - A fill is seen once, also by a node that was down when it happened: those that came since are read from the tables.
//! - How far a condition is, is kept a second later at most, and when it goes off with that.

pub(crate) mod address;
mod delivery;
mod engine;
pub(crate) mod message;
pub(crate) mod rule;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tradeflow_model::Timestamp;
use tradeflow_state::{AlertEventRow, AlertRow, Firing, StateError};
use uuid::Uuid;

use crate::context::Context;
use crate::socket::messages::{Channel, Data};
use engine::{Engine, Fire, Watched};
use message::Told;
use rule::{Rule, Since, midnight};

/// How often quotes and fills are looked at, and accounts and feeds.
const LOOK_EVERY: Duration = Duration::from_millis(20);
const LOOKS_A_SECOND: u32 = 50;
/// How often what has changed is kept, and what other nodes did is read.
const KEEP_EVERY: Duration = Duration::from_secs(1);
const READ_EVERY_ROUNDS: u32 = 5;
/// Alerts that go off and wait for the database, at most.
const FIRES_MAX: usize = 1000;
/// Events of this age are looked at again: they may have been written late, by a clock that is behind.
const TELL_BACK: i64 = 30_000_000_000;

/// What wakes the tasks.
#[derive(Debug, Default)]
pub(crate) struct Alerts {
    /// An alert was made, changed or deleted.
    pub(crate) changed: Notify,
    /// A mail or a webhook waits.
    pub(crate) due: Notify,
    /// An alert has gone off.
    pub(crate) told: Notify,
}

/// Runs for as long as the server does.
pub(crate) async fn run(shared: Context) {
    let engine = Arc::new(Mutex::new(Engine::default()));
    let (fires, waiting) = mpsc::channel(FIRES_MAX);
    tokio::join!(
        look(&shared, &engine, &fires),
        write(&shared, &engine, waiting),
        keep(&shared, &engine, &fires),
        tell(&shared),
        delivery::run(shared.clone()),
    );
}

fn locked(engine: &Mutex<Engine>) -> MutexGuard<'_, Engine> {
    engine.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn look(shared: &Context, engine: &Mutex<Engine>, fires: &mpsc::Sender<Fire>) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for round in 0_u32.. {
        ticks.tick().await;
        let mut engine = locked(engine);
        let (up_to, new) = shared.hub.fills_since(engine.fills());
        let mut found = engine.take_fills(&new, up_to);
        found.extend(engine.look_at_quotes(shared.node.as_ref()));
        if round.is_multiple_of(LOOKS_A_SECOND) {
            found.extend(engine.look_at_node(shared.node.as_ref()));
        }
        hand_over(&mut engine, fires, found);
    }
}

/// Hands what goes off to whoever writes it. Where too much waits, it has not gone off: it does at the next look.
fn hand_over(engine: &mut Engine, fires: &mpsc::Sender<Fire>, found: Vec<Fire>) {
    for fire in found {
        if let Err(error) = fires.try_send(fire) {
            let fire = error.into_inner();
            tracing::warn!(alert = fire.row.id, "an alert waits: too many go off at once");
            engine.forget(&fire.row.id);
        }
    }
}

/// Writes that alerts went off. While the database is away, they wait.
async fn write(shared: &Context, engine: &Mutex<Engine>, mut waiting: mpsc::Receiver<Fire>) {
    while let Some(fire) = waiting.recv().await {
        let written = loop {
            let event = event(shared, &fire.row, fire.kind, &fire.message, &fire.data.to_string(), false);
            let firing = Firing {
                alert: &fire.row,
                at: fire.at,
                fill: fire.fill,
                progress: &fire.progress,
                event: &event,
            };
            match shared.state.fire_alert(firing).await {
                Err(error @ StateError::Unavailable(_)) => {
                    tracing::warn!(%error, "an alert waits");
                    tokio::time::sleep(KEEP_EVERY).await;
                }
                written => break written,
            }
        };
        match written {
            Ok(true) => {
                shared.alerts.told.notify_one();
                shared.alerts.due.notify_one();
            }
            // Another node was earlier, or its user has changed it, or may not see the account any more.
            Ok(false) => {
                locked(engine).forget(&fire.row.id);
                shared.alerts.changed.notify_one();
            }
            Err(error) => tracing::error!(%error, alert = fire.row.id, "an alert can't be written"),
        }
    }
}

/// An event of an alert, as it is now.
pub(crate) fn event(
    shared: &Context,
    alert: &AlertRow,
    kind: &str,
    message: &str,
    data: &str,
    test: bool,
) -> AlertEventRow {
    AlertEventRow {
        id: Uuid::now_v7().to_string(),
        alert_id: alert.id.clone(),
        user_id: alert.user_id.clone(),
        ts: shared.now().as_nanos(),
        node: shared.jobs.node.clone(),
        name: alert.name.clone(),
        kind: kind.to_owned(),
        message: message.to_owned(),
        data: data.to_owned(),
        test: i64::from(test),
    }
}

/// Keeps how far conditions are, and reads what has changed.
async fn keep(shared: &Context, engine: &Mutex<Engine>, fires: &mpsc::Sender<Fire>) {
    for round in 0_u32.. {
        let asked = tokio::select! {
            () = shared.alerts.changed.notified() => true,
            () = tokio::time::sleep(KEEP_EVERY) => false,
        };
        let mut kept = Ok(());
        let unkept = locked(engine).unkept();
        for row in unkept {
            kept = kept.and(shared.state.keep_alert(&row).await);
        }
        if asked || round.is_multiple_of(READ_EVERY_ROUNDS) {
            kept = kept.and(read(shared, engine, fires).await);
        }
        if let Err(error) = kept {
            tracing::warn!(%error, "alerts");
        }
    }
}

async fn read(
    shared: &Context,
    engine: &Mutex<Engine>,
    fires: &mpsc::Sender<Fire>,
) -> Result<(), StateError> {
    let rows = shared.state.watched_alerts().await?;
    let unknown = locked(engine).take(rows);
    for row in unknown {
        let Some(mut alert) = Watched::new(row) else { continue };
        let mut found = Vec::new();
        match alert.rule().clone() {
            Rule::Drawdown { account, since, .. } => {
                let now = shared.now().as_nanos();
                let from = (since == Since::Day).then(|| midnight(now));
                let peak = shared.state.peak_equity(&account, from).await?;
                if let Some(peak) = peak.and_then(|peak| peak.parse().ok()) {
                    alert.remember_peak(peak, now);
                }
            }
            Rule::Fill { account, .. } => found = missed(shared, &account, &mut alert).await?,
            Rule::Price { .. } | Rule::FeedDown { .. } => {}
        }
        let mut engine = locked(engine);
        let (_, late) = shared.hub.fills_since(0);
        found.extend(engine.watch(alert, &late));
        hand_over(&mut engine, fires, found);
    }
    Ok(())
}

/// What goes off for fills that came while no one watched, the oldest first.
async fn missed(shared: &Context, account: &str, alert: &mut Watched) -> Result<Vec<Fire>, StateError> {
    const PAGE: u32 = 500;
    let mut found = Vec::new();
    loop {
        let fills = shared.state.fills_after(account, alert.row().seen, PAGE).await?;
        found.extend(fills.iter().filter_map(|fill| alert.fill(fill)));
        if fills.len() < PAGE as usize || alert.row().enabled == 0 {
            return Ok(found);
        }
    }
}

/// Tells those who follow their alerts on this node, of whichever node saw them go off.
async fn tell(shared: &Context) {
    let mut told: Option<BTreeMap<String, i64>> = None;
    loop {
        let since = Timestamp::from_nanos(shared.now().as_nanos() - TELL_BACK);
        match shared.state.alert_events_since(since).await {
            Ok(events) => {
                // Those before the start are in the list.
                let first = told.is_none();
                let known = told.get_or_insert_default();
                for event in events {
                    if known.insert(event.id.clone(), event.ts).is_none() && !first {
                        let user = event.user_id.clone();
                        let data = Data::Alert(Box::new(Told::from(event)));
                        shared.hub.tell(Channel::Alerts, &user, shared.now(), data);
                    }
                }
                known.retain(|_, ts| *ts >= since.as_nanos() - TELL_BACK);
            }
            Err(error) => tracing::warn!(%error, "alerts"),
        }
        tokio::select! {
            () = shared.alerts.told.notified() => {}
            () = tokio::time::sleep(KEEP_EVERY) => {}
        }
    }
}
