//! The run plan: everything a replay needs, as plain data with a digest.
//!
//! A plan names the instruments, the series with their files, the cells, the models that stand for the venue, and
//! the seed. Two runs of one plan over the same files give the same outputs, whoever runs them (invariant I3).

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::account::AccountSpec;
use crate::digest::Digest;
use crate::ids::{InstrumentId, SeriesId};
use crate::instrument::{FeeSchedule, Instrument};
use crate::market::SeriesKind;
use crate::signal::Size;
use crate::time::Timestamp;

/// A run, as data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunPlan {
    /// The instruments; [`InstrumentId`] is an index into them.
    pub instruments: Vec<Instrument>,
    /// The series, sorted by [`SeriesKind::rank`]; [`SeriesId`] is an index into them.
    pub series: Vec<SeriesPlan>,
    /// First instant at which strategies may trade; earlier data is warm-up.
    pub from: Timestamp,
    /// End of the data, exclusive by bar open and tick time.
    pub to: Timestamp,
    /// Rows of a batch.
    pub batch_rows: u32,
    /// Batches between source and slowest cell, at most.
    pub window_batches: u32,
    /// The seed of everything random.
    pub seed: u64,
    /// The cells, in order of account.
    pub cells: Vec<CellPlan>,
}

/// A series and where its rows are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeriesPlan {
    /// The instrument.
    pub instrument: InstrumentId,
    /// What it holds.
    pub kind: SeriesKind,
    /// First row to read, by bar open or tick time: the run's start, or earlier for a warm-up.
    pub start: Timestamp,
    /// Its files in time order; none for sessions, which come from the calendar.
    pub files: Vec<DataFile>,
}

/// A file of a series.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataFile {
    /// Path within the catalog.
    pub path: String,
    /// Size in bytes.
    pub bytes: u64,
    /// Digest of its contents, as the catalog recorded it.
    pub digest: Digest,
}

/// A cell: one account with its strategies, its risk limits and the venue it trades on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CellPlan {
    /// The account.
    pub account: AccountSpec,
    /// Its strategies, in the order in which they see each event.
    pub strategies: Vec<StrategyPlan>,
    /// Limits of its risk gate.
    pub risk: RiskLimits,
    /// How the simulated venue fills its orders.
    pub venue: VenueSpec,
    /// Least time between two points of its equity curve, in nanoseconds; every event in time that falls later makes one.
    pub equity_interval_ns: i64,
    /// What happens to a strategy that panics or breaks an invariant; `None` ends the run, as a backtest should.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub containment: Option<Containment>,
}

/// A strategy of a cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StrategyPlan {
    /// Unique within the cell; the kind's name unless the user says otherwise.
    pub id: String,
    /// The kind, as the registry knows it (`sma_cross`).
    pub kind: String,
    /// Version of the kind.
    pub version: String,
    /// Parameters, checked against the kind's schema.
    pub params: serde_json::Value,
    /// The series it sees, in the order in which it declared them.
    pub series: Vec<SeriesId>,
    /// Size of its positions where a signal does not say.
    pub size: Size,
    /// Bars of each series that it must have seen before it may trade.
    pub warm_up_bars: u32,
}

/// How failures of a strategy are kept to it. A strategy that fails begins anew from its parameters, with its orders
/// cancelled; one that fails again and again is stopped for good (quarantine).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Containment {
    /// Failures after which it is stopped, 1 or more.
    pub failures_max: u32,
    /// Whether its positions are closed then; otherwise they are left as they are.
    pub close_positions: bool,
}

impl Default for Containment {
    fn default() -> Self {
        Self { failures_max: 3, close_positions: false }
    }
}

/// Limits of the first risk gate. What is `None` is not limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RiskLimits {
    /// Largest value of one order, in the account's currency.
    pub order_notional_max: Option<Decimal>,
    /// Largest value of the position in one instrument, in the account's currency.
    pub position_notional_max: Option<Decimal>,
    /// Most orders open at once.
    pub open_orders_max: Option<u32>,
    /// Farthest a limit price may lie beyond the last price, on the side that would trade at once, in basis points.
    pub price_collar_bps: Option<u32>,
    /// Loss since the session opened, in percent of equity then, after which only orders that reduce pass.
    pub daily_loss_max_pct: Option<Decimal>,
    /// Loss from the highest equity, in percent, after which only orders that reduce pass.
    pub drawdown_max_pct: Option<Decimal>,
}

/// How the simulated venue fills orders. The defaults are the honest ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VenueSpec {
    /// Largest share of a bar's or trade's volume that fills one order; `None` fills orders whole whatever the
    /// volume. Data without volume (zero) does not cap.
    pub volume_share_max: Option<Decimal>,
    /// Whether a resting limit fills when the price only touches it.
    pub limit_fill: LimitFill,
    /// How far fills that take liquidity are worse than the price seen.
    pub slippage: Slippage,
    /// Fees instead of the instruments' own.
    pub fees: Option<FeeSchedule>,
    /// A price older than this does not fill, in nanoseconds; `None` for no limit. (Bars fill by their own open.)
    pub stale_after_ns: Option<i64>,
    /// Share of orders that the venue refuses, as one that is down or overloaded does: to see what a strategy makes of
    /// it. Which ones follows from the venue's definition and the order's id, so that a replay refuses the same. `None` for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused_share: Option<Decimal>,
}

/// When a resting limit order fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LimitFill {
    /// When the market trades through its price: then it was our turn in any queue.
    #[default]
    Through,
    /// As soon as the market touches its price: the first in every queue.
    Touch,
}

/// How far fills that take liquidity are worse than the price seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Slippage {
    /// Not at all. With quotes the spread is paid all the same.
    #[default]
    None,
    /// By so many basis points of the price.
    Bps(Decimal),
    /// By half of this spread, in price units.
    Spread(Decimal),
}

impl Default for VenueSpec {
    fn default() -> Self {
        Self {
            volume_share_max: Some(Decimal::new(1, 1)),
            limit_fill: LimitFill::default(),
            slippage: Slippage::default(),
            fees: None,
            stale_after_ns: Some(60 * crate::time::NANOS_PER_SEC),
            refused_share: None,
        }
    }
}

impl RunPlan {
    /// Digest of everything that was configured: the whole plan.
    pub fn config_digest(&self) -> Digest {
        Digest::of_json(self)
    }

    /// Digest of the data: the files' digests, series by series.
    pub fn data_digest(&self) -> Digest {
        let digests: Vec<_> =
            self.series.iter().flat_map(|series| series.files.iter().map(|file| file.digest)).collect();
        Digest::of_json(&digests)
    }

    /// The instrument with this id.
    ///
    /// # Panics
    /// When the plan has no such instrument.
    pub fn instrument(&self, id: InstrumentId) -> &Instrument {
        &self.instruments[id.index()]
    }
}
