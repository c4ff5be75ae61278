//! What the subcommands of the live path share.
//!
//! | file | holds |
//! |---|---|
//! | `place.rs` | [`Place`]: flags that name a node's state; opening its bus and catalog |
//! | `history.rs` | warm-ups from the catalog |
//! | `archive.rs` | market data that has left the bus, from what was recorded of it |
//! | `sessions.rs` | `tradeflow sessions` |
//! | `verify.rs` | `tradeflow verify` |
//! | `fork.rs` | `tradeflow fork` |

mod archive;
pub mod fork;
mod history;
pub mod place;
pub mod sessions;
pub mod verify;

use anyhow::{Context, bail};
use tradeflow_live::SessionRecord;
use tradeflow_live::host::Sources;
use tradeflow_live::node;

pub use place::{Place, StoredPlace};

/// A session by its id, by the beginning of it, or `last`.
///
/// # Errors
/// When there is none, or more than one.
pub fn find_session(sources: &Sources, wanted: &str) -> anyhow::Result<SessionRecord> {
    let mut known = node::sessions(sources.bus.as_ref(), &sources.topics)?;
    if wanted == "last" {
        return known.pop().context("there is no session yet: start one with `tradeflow serve`");
    }
    let mut fitting = known.into_iter().filter(|session| session.id.starts_with(wanted));
    let first = fitting.next();
    let first =
        first.with_context(|| format!("there is no session {wanted}: `tradeflow sessions` lists them"))?;
    if let Some(other) = fitting.next() {
        bail!("{wanted} is the beginning of {} and {}", first.id, other.id);
    }
    Ok(first)
}
