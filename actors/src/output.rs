//! What a cell puts out for the result files: orders, fills, trades, positions and equity, each also folded into the
//! cell's digest.

use serde::{Deserialize, Serialize};
use tradeflow_model::order::Liquidity;
use tradeflow_model::{
    DigestWriter, InstrumentId, Money, Order, OrderEvent, OrderEventKind, OrderId, Price, Qty, Side,
    StrategyIndex, Timestamp,
};

use crate::account::RoundTrip;

/// An order that is closed, or still open when the run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderRecord {
    /// The order as it ended.
    pub order: Order,
    /// When it ended; the end of the run for an open one.
    pub ts_closed: Timestamp,
    /// Why it was denied, rejected or cancelled, in words; empty otherwise.
    pub reason: String,
}

/// A fill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FillRecord {
    /// Its order.
    pub order: OrderId,
    /// Whose order.
    pub strategy: Option<StrategyIndex>,
    /// The instrument.
    pub instrument: InstrumentId,
    /// When it traded.
    pub ts_event: Timestamp,
    /// When we learnt of it.
    pub ts_init: Timestamp,
    /// Buy or sell.
    pub side: Side,
    /// The price.
    pub price: Price,
    /// The quantity.
    pub qty: Qty,
    /// The fee.
    pub fee: Money,
    /// Maker or taker.
    pub liquidity: Liquidity,
    /// The account's position in the instrument after it.
    pub position: Qty,
    /// The account's cash after it.
    pub cash: Money,
    /// Whether it ended a round trip.
    pub ends_trade: bool,
}

/// The account's position in an instrument after a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PositionRecord {
    /// When it changed.
    pub ts_event: Timestamp,
    /// The instrument.
    pub instrument: InstrumentId,
    /// Quantity, positive when long.
    pub qty: Qty,
    /// What the open quantity cost.
    pub cost: Money,
    /// Profit of closed parts so far, before fees.
    pub realized: Money,
    /// Fees so far.
    pub fees: Money,
}

/// The equity curve, as columns.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EquityColumns {
    /// Times, in nanoseconds.
    pub ts_event: Vec<i64>,
    /// Cash, raw money.
    pub cash: Vec<i128>,
    /// Cash and positions at their marks, raw money.
    pub equity: Vec<i128>,
}

/// Counts of what a cell did: its observable state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counters {
    /// Inputs taken.
    pub inputs: u64,
    /// Bars after the warm-up.
    pub bars: u64,
    /// Trades and quotes after the warm-up.
    pub ticks: u64,
    /// Bars, trades and quotes of the warm-up.
    pub warm_up: u64,
    /// Signals.
    pub signals: u64,
    /// Signals that did not lead to an order (already there, expired, warm-up).
    pub signals_idle: u64,
    /// Orders.
    pub orders: u64,
    /// Orders that we refused.
    pub denied: u64,
    /// Orders that the venue refused.
    pub rejected: u64,
    /// Changes of orders that we refused, because the order or the risk gate does not allow them.
    pub changes_refused: u64,
    /// Fills.
    pub fills: u64,
    /// Fills larger than a tenth of the volume they traded in.
    pub fills_over_volume: u64,
    /// Round trips.
    pub trades: u64,
}

/// What a cell put out since it was last asked.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CellOutput {
    /// Orders that ended.
    pub orders: Vec<OrderRecord>,
    /// Fills.
    pub fills: Vec<FillRecord>,
    /// Trades that ended.
    pub trades: Vec<RoundTrip>,
    /// Positions that changed.
    pub positions: Vec<PositionRecord>,
    /// Points of the equity curve.
    pub equity: EquityColumns,
    /// Every change of an order with the order after it, where the cell was asked to tell ([`Cell::tell_events`]).
    ///
    /// [`Cell::tell_events`]: crate::cell::Cell::tell_events
    pub events: Vec<(OrderEvent, Order)>,
    /// What people should know of.
    pub notices: Vec<Notice>,
}

/// Something that people should know of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Notice {
    /// A strategy panicked or broke an invariant.
    StrategyFailed {
        /// Its id.
        id: String,
        /// When.
        ts_event: Timestamp,
        /// In its words.
        why: String,
        /// How often by now.
        failures: u32,
        /// Whether it is stopped for good; otherwise it began anew.
        quarantined: bool,
    },
}

impl CellOutput {
    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.orders.is_empty()
            && self.fills.is_empty()
            && self.trades.is_empty()
            && self.positions.is_empty()
            && self.equity.ts_event.is_empty()
            && self.events.is_empty()
            && self.notices.is_empty()
    }
}

/// Folds outputs into a digest. Each kind begins with a tag of its own, so that no two outputs have the same bytes.
pub(crate) trait Fold {
    fn fold(&self, digest: &mut DigestWriter);
}

/// A point of the equity curve: the commonest output by far, so its bytes are laid out by hand.
pub(crate) struct EquityPoint {
    pub(crate) ts_event: i64,
    pub(crate) cash: i128,
    pub(crate) equity: i128,
}

impl Fold for EquityPoint {
    #[inline]
    fn fold(&self, digest: &mut DigestWriter) {
        let mut bytes = [0_u8; 41];
        bytes[0] = b'e';
        bytes[1..9].copy_from_slice(&self.ts_event.to_le_bytes());
        bytes[9..25].copy_from_slice(&self.cash.to_le_bytes());
        bytes[25..41].copy_from_slice(&self.equity.to_le_bytes());
        digest.bytes(&bytes);
    }
}

/// Postcard's encoding is canonical: one value, one row of bytes. Its length goes first.
fn fold_encoded<T: Serialize>(tag: u8, value: &T, digest: &mut DigestWriter) {
    let mut buffer = [0_u8; 512];
    match postcard::to_slice(value, &mut buffer) {
        Ok(bytes) => fold_bytes(tag, bytes, digest),
        Err(_) => {
            let bytes = postcard::to_allocvec(value).expect("plain data can always be encoded");
            fold_bytes(tag, &bytes, digest);
        }
    }
}

fn fold_bytes(tag: u8, bytes: &[u8], digest: &mut DigestWriter) {
    digest.bytes(&[tag]);
    digest.u64(bytes.len() as u64);
    digest.bytes(bytes);
}

impl Fold for OrderEvent {
    fn fold(&self, digest: &mut DigestWriter) {
        fold_encoded(b'o', self, digest);
    }
}

impl Fold for Order {
    fn fold(&self, digest: &mut DigestWriter) {
        fold_encoded(b'n', self, digest);
    }
}

impl Fold for RoundTrip {
    fn fold(&self, digest: &mut DigestWriter) {
        fold_encoded(b't', self, digest);
    }
}

/// Why an order ended, in words; empty for one that simply filled or expired.
pub(crate) fn reason_of(kind: &OrderEventKind) -> String {
    match kind {
        OrderEventKind::Denied(why) => why.to_string(),
        OrderEventKind::Rejected(why) => why.to_string(),
        OrderEventKind::Cancelled(why) => why.to_string(),
        _ => String::new(),
    }
}
