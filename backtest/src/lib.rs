//! Backtests: from a configuration to a run plan, through the cells, to a folder of results.
//!
//! ```text
//! flags or TOML ─▶ config ─▶ plan ─▶ source (one total order) ─▶ reference | dataflow ─▶ cells ─▶ results
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`config`] | what the user asked for, with the line or flag of each setting |
//! | [`planning`] | from that to a [`tradeflow_model::plan::RunPlan`], with the files of the catalog |
//! | [`source`] | the market events of a plan in their total order, as batches |
//! | [`shard`] | a cell as the unit that drivers run |
//! | [`reference`] | the plain driver, which defines what a run means |
//! | [`dataflow`] | the driver over timely: threads, processes, machines |
//! | [`results`] | the result folder: Parquet, `summary.json` |
//! | [`statistics`] | drawdown, return, ratios |
//! | [`run`] | all of it together |

pub mod config;
pub mod dataflow;
pub mod planning;
pub mod reference;
pub mod results;
pub mod run;
pub mod shard;
pub mod source;
pub mod statistics;
