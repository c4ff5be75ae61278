//! Strategies: what decides.
//!
//! A strategy is one file here and one line in [`registry`]. It implements [`Strategy`] (what it does on a bar, trade,
//! quote, order event, timer) and [`Define`] (its name, its parameters as a typed struct with a JSON schema, the series
//! and the warm-up it needs). It can read its own position, the account and the last prices through [`Context`], and
//! can decide (a [`Signal`]) or order directly; both pass the same desk, risk gate and router.
//!
//! | file | holds |
//! |---|---|
//! | `context.rs` | [`Context`]: what a strategy sees and can do |
//! | `define.rs` | [`Define`], [`StrategyKind`]: declaration, parameters, schema |
//! | `host.rs` | [`StrategyActor`]: the actor around a strategy; warm-up |
//! | `dry_run.rs` | what a strategy would decide over events of the past |
//! | `buy_and_hold.rs`, `sma_cross.rs`, … | one strategy each |
//!
//! [`Signal`]: tradeflow_model::Signal

mod buy_and_hold;
mod context;
mod define;
mod direction;
mod dry_run;
mod ema_cross;
mod external;
mod host;
mod rsi_reversion;
mod sma_cross;
mod tick_momentum;

pub use context::{Context, Intent, View};
pub use define::{Define, Needs, ParamError, SeriesNeed, Setup, StrategyKind};
pub use direction::Direction;
pub use dry_run::{DryRun, dry_run};
pub use host::{StrategyActor, StrategyEvent, StrategyInput};

use std::sync::OnceLock;

use tradeflow_model::{Bar, Order, OrderEvent, Quote, SessionEvent, Trade};

use crate::actor::Fault;

/// What a strategy does. Every method has a default that does nothing.
pub trait Strategy: Send {
    /// A bar of one of its series has closed.
    fn on_bar(&mut self, _context: &mut Context<'_>, _bar: &Bar) {}

    /// A trade of one of its series.
    fn on_trade(&mut self, _context: &mut Context<'_>, _trade: &Trade) {}

    /// A quote of one of its series.
    fn on_quote(&mut self, _context: &mut Context<'_>, _quote: &Quote) {}

    /// A session of one of its instruments opens or closes.
    fn on_session(&mut self, _context: &mut Context<'_>, _session: &SessionEvent) {}

    /// Something happened to one of its orders; `order` is as it is after it.
    fn on_order_event(&mut self, _context: &mut Context<'_>, _event: &OrderEvent, _order: &Order) {}

    /// A timer it set has come.
    fn on_timer(&mut self, _context: &mut Context<'_>, _timer: u32) {}

    /// Its state, as bytes.
    ///
    /// # Errors
    /// When the state can't be written.
    fn snapshot(&self) -> Result<Vec<u8>, Fault>;

    /// Goes back to a snapshot.
    ///
    /// # Errors
    /// When the bytes are not a snapshot of this kind of strategy; it is then unchanged.
    fn restore(&mut self, snapshot: &[u8]) -> Result<(), Fault>;
}

/// `snapshot` and `restore` of a strategy whose whole state is its serde fields.
macro_rules! snapshot_by_serde {
    () => {
        fn snapshot(&self) -> Result<Vec<u8>, $crate::actor::Fault> {
            Ok(postcard::to_allocvec(self)?)
        }

        fn restore(&mut self, snapshot: &[u8]) -> Result<(), $crate::actor::Fault> {
            *self = postcard::from_bytes(snapshot)?;
            Ok(())
        }
    };
}
pub(crate) use snapshot_by_serde;

/// All kinds of strategies, by name.
pub fn registry() -> &'static [StrategyKind] {
    const REGISTRY: &[StrategyKind] = &[
        StrategyKind::of::<buy_and_hold::BuyAndHold>(),
        StrategyKind::of::<ema_cross::EmaCross>(),
        StrategyKind::of::<external::External>(),
        StrategyKind::of::<rsi_reversion::RsiReversion>(),
        StrategyKind::of::<sma_cross::SmaCross>(),
        StrategyKind::of::<tick_momentum::TickMomentum>(),
    ];
    REGISTRY
}

/// Kinds that a program brings along beside those of the registry.
static OWN: OnceLock<&'static [StrategyKind]> = OnceLock::new();

/// Adds the kinds of strategies that a program brings along. Once, before its first cell is built: a plan that names one
/// can be run and verified only by programs that have it.
///
/// # Errors
/// When a name is taken, or kinds were added before.
pub fn register(own: &'static [StrategyKind]) -> Result<(), String> {
    if let Some(taken) = own.iter().find(|kind| registry().iter().any(|known| known.name == kind.name)) {
        return Err(format!("there is a strategy {:?} already", taken.name));
    }
    OWN.set(own).map_err(|_| "strategies were added before: add all of them at once".to_owned())
}

/// The kind with this name.
///
/// # Errors
/// In words, with the names there are.
pub fn kind_of(name: &str) -> Result<&'static StrategyKind, String> {
    let kinds = || registry().iter().chain(OWN.get().copied().unwrap_or_default());
    kinds().find(|kind| kind.name == name).ok_or_else(|| {
        let names: Vec<&str> = kinds().map(|kind| kind.name).collect();
        format!("there is no strategy {name:?}; there are {}", names.join(", "))
    })
}
