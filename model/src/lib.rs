//! The vocabulary of TradeFlow: time, exact numbers, instruments, market events, orders, accounts, signals and run plans.
//!
//! Everything here is plain data with checked constructors. Nothing reads a clock, a file, the network or an
//! unseeded random source (invariant I2), and money is never a float (invariant I5).
//!
//! | module | holds |
//! |---|---|
//! | [`time`] | [`Timestamp`] (nanoseconds UTC), [`Interval`] of a bar |
//! | [`fixed`] | [`Price`] and [`Qty`]: 64-bit integers at the instrument's scale |
//! | [`money`] | [`Money`]: amounts of a currency, exact to 10⁻¹⁸; [`Currency`] |
//! | [`instrument`] | [`Instrument`]: increments, multiplier, currencies, calendar, fees |
//! | [`calendar`] | trading sessions: 24x7, FX week, NYSE, CME Globex |
//! | [`market`] | trades, quotes, bars, corporate actions, sessions; the columns and batches that carry them |
//! | [`order`] | orders, their events, and the state machine between them |
//! | [`signal`] | decisions of a strategy, a webhook or a person, before they become orders |
//! | [`account`] | what an account is and how it is charged |
//! | [`plan`] | the run plan: everything a replay needs, as hashed data |
//! | [`digest`] | the digests that prove two runs equal |

pub mod account;
pub mod calendar;
pub mod digest;
pub mod error;
pub mod fixed;
pub mod ids;
pub mod instrument;
pub mod market;
pub mod money;
pub mod order;
pub mod plan;
pub mod signal;
pub mod time;

pub use account::{AccountKind, AccountSpec};
pub use digest::{Digest, DigestWriter};
pub use error::{ValueError, ValueReason};
pub use fixed::{MAX_SCALE, Price, Qty};
pub use ids::{AccountId, InstrumentId, OrderId, SeriesId, StrategyIndex, Symbol};
pub use instrument::{AssetClass, FeeSchedule, Instrument};
pub use market::{Bar, BarColumns, CorporateAction, MarketBatch, MarketEvent, Quote, SessionEvent, Trade};
pub use money::{Currency, Money};
pub use order::{Fill, Order, OrderEvent, OrderEventKind, OrderKind, OrderStatus, Side, TimeInForce};
pub use signal::{Signal, SignalSide, SignalSource};
pub use time::{Interval, IntervalUnit, Timestamp};
