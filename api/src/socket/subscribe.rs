//! The beginning of a subscription: everything as it is, or what was missed.

use std::sync::Arc;
use std::time::Duration;

use bytestring::ByteString;
use tradeflow_model::Interval;
use tradeflow_state::Role;
use tradeflow_state::trading::Which;

use super::hub::Beginning;
use super::messages::{Channel, Data, ServerMessage};
use super::outbox::Outbox;
use super::watch;
use crate::auth::Caller;
use crate::context::Context;
use crate::problem::Problem;
use crate::routes::account_of;
use crate::routes::backtests::job_of;
use crate::system_log::level_of;

/// Fills of a snapshot, and orders that stand, at most.
const FILLS: u32 = 100;
const ORDERS: u32 = 5000;

/// Begins a subscription.
///
/// # Errors
/// When there is no such stream, or the caller may not follow it; when the tables that it begins with are behind.
pub(super) async fn subscribe(
    shared: &Context,
    caller: &Caller,
    outbox: &Arc<Outbox>,
    channel: Channel,
    key: &str,
    after: Option<u64>,
) -> Result<(), Problem> {
    check(shared, caller, channel, key).await?;
    outbox.hold(channel, key);
    let (seq, data) = match shared.hub.follow(channel, key, after, outbox) {
        Beginning::Resumed => {
            let seq = after.unwrap_or_default();
            outbox.begin(channel, key, seq, text(&ServerMessage::Resumed { channel, key, seq }));
            return Ok(());
        }
        Beginning::State(last) => {
            let now = match channel {
                Channel::Jobs => Some(Data::Job(Box::new(shared.state.job(key).await?.into()))),
                _ => watch::look(shared.node.as_ref(), channel, key),
            };
            (last.map_or(0, |last| last.seq), now.into_iter().collect())
        }
        Beginning::Followed { base, last } => match channel {
            Channel::Orders | Channel::Fills => stored(shared, channel, key, base).await?,
            Channel::Signals => {
                let (accounts, open) = ([key.to_owned()], ["new".to_owned(), "queued".to_owned()]);
                let which = Which { accounts: Some(&accounts), ..Which::default() };
                let rows = shared.state.signals(which, Some(&open), None, ORDERS).await?;
                (last, rows.into_iter().map(|row| Data::Signal(Box::new(row.into()))).collect())
            }
            // One that went off this moment may come again as an update.
            Channel::Alerts => {
                let mut rows = shared.state.alert_events(key, None, None, FILLS).await?;
                rows.reverse();
                (last, rows.into_iter().map(|row| Data::Alert(Box::new(row.into()))).collect())
            }
            _ => (last, Vec::new()),
        },
    };
    outbox.begin(channel, key, seq, text(&ServerMessage::Snapshot { channel, key, seq, data }));
    Ok(())
}

fn text(message: &ServerMessage<'_>) -> ByteString {
    serde_json::to_string(message).unwrap_or_default().into()
}

async fn check(shared: &Context, caller: &Caller, channel: Channel, key: &str) -> Result<(), Problem> {
    let instrument = |symbol: &str| {
        let known = shared.plan().instrument(symbol).is_some();
        if known { Ok(()) } else { Err(Problem::missing("instrument")) }
    };
    match channel {
        Channel::Quotes => instrument(key),
        Channel::Bars => {
            let parts = key
                .rsplit_once('/')
                .and_then(|(symbol, interval)| interval.parse::<Interval>().ok().map(|_| symbol));
            instrument(parts.ok_or_else(|| Problem::field("keys", "takes symbol and interval: BTCUSD/1m"))?)
        }
        Channel::Jobs => job_of(shared, caller, key).await.map(drop),
        Channel::Alerts if key == caller.id() => Ok(()),
        Channel::Alerts => Err(Problem::missing("user")),
        Channel::Logs => {
            if !caller.may(Role::Administrator) {
                return Err(Problem::forbidden("logs take an administrator"));
            }
            let known = level_of(key).map(drop);
            known.ok_or_else(|| Problem::field("keys", "takes info, warn or error"))
        }
        _ => account_of(shared, caller, key).await,
    }
}

/// What the tables hold, and the number up to which they do: at least to where the stream begins, so that between the two
/// nothing is missing.
async fn stored(
    shared: &Context,
    channel: Channel,
    account: &str,
    base: Option<u64>,
) -> Result<(u64, Vec<Data>), Problem> {
    const PAUSE: Duration = Duration::from_millis(20);
    const TRIES: u32 = 250;
    let state = &shared.state;
    for _ in 0..TRIES {
        // First the number, then the rows: rows may be newer, and come once more.
        let seq = match channel {
            Channel::Orders => state.last_order_event(account).await?,
            _ => state.last_fill(account).await?,
        };
        if base.is_some_and(|base| seq < base) {
            tokio::time::sleep(PAUSE).await; // the tables follow
            continue;
        }
        let accounts = [account.to_owned()];
        let which = Which { accounts: Some(&accounts), ..Which::default() };
        let data = match channel {
            Channel::Orders => {
                let rows = state.orders(which, Some(true), None, None, ORDERS).await?;
                rows.into_iter().map(|row| Data::Order { order: Box::new(row.into()), event: None }).collect()
            }
            _ => {
                let rows = state.fills(which, None, None, FILLS).await?;
                rows.into_iter().map(|row| Data::Fill(Box::new(row.into()))).collect()
            }
        };
        return Ok((seq, data));
    }
    Err(Problem::unavailable("the lists are behind the bus; try again"))
}
