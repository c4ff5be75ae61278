//! Actors and the cell: all that decides, and nothing that knows where its inputs come from.
//!
//! ```text
//! market event ─▶ venue (matches resting orders) ─▶ reports ─▶ account ─▶ strategies ─▶ signals, order requests
//!                    ▲                                                                        │
//!                    └──────────── router ◀── risk gate ◀── sizing ◀──────────────────────────┘
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`actor`] | the contract of every actor, its outbox, its faults |
//! | [`cell`] | [`cell::Cell`]: an account with its strategies, risk gate and router; [`cell::PaperCell`]: a cell with the simulated venue |
//! | [`account`] | ledger, positions, round trips |
//! | [`strategy`] | the strategy contract, the registry, one strategy a file |
//! | [`indicator`] | moving averages and their kind |
//! | [`execution`] | from a signal to an order: sizing, the desk, open orders |
//! | [`risk`] | the risk gate, one rule a file |
//! | [`venue`] | the simulated venue |
//! | [`output`] | what a cell puts out: orders, fills, trades, positions, equity |

pub mod account;
pub mod actor;
pub mod cell;
pub mod execution;
pub mod indicator;
pub mod output;
pub mod risk;
pub mod strategy;
pub mod venue;

pub use actor::{Actor, Fault, Outbox};
