//! Round trips: a trade runs from flat to flat, for each strategy and instrument by itself.
//!
//! A fill that turns a position over ends one trip and begins the next; its fee is shared by quantity. The profit of a
//! trip is what its fills paid and received, so parts that were sold on the way need no rule for which lot was sold.

use serde::{Deserialize, Serialize};
use tradeflow_model::money::div_half_even;
use tradeflow_model::{
    Fill, Instrument, InstrumentId, Money, Price, Qty, Side, StrategyIndex, Timestamp, ValueError,
};

use crate::actor::{Fault, Outbox};

/// A trade from flat to flat, or so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoundTrip {
    /// The strategy; `None` for orders of a person.
    pub strategy: Option<StrategyIndex>,
    /// The instrument.
    pub instrument: InstrumentId,
    /// Buy for a long trade, sell for a short one.
    pub side: Side,
    /// Time of the first fill.
    pub entry_time: Timestamp,
    /// Time of the fill that made it flat; `None` while open.
    pub exit_time: Option<Timestamp>,
    /// Quantity that entered, all entries added up.
    pub entry_qty: Qty,
    /// Quantity that left.
    pub exit_qty: Qty,
    /// Σ price × quantity of the entries, raw at price scale + size scale.
    pub entry_value: i128,
    /// Σ price × quantity of the exits.
    pub exit_value: i128,
    /// Fees of all its fills.
    pub fees: Money,
    /// Dividends on the way, and what splits paid out.
    pub flows: Money,
}

impl RoundTrip {
    /// The average entry price, half to even at the price scale.
    pub fn entry_price(&self) -> Option<Price> {
        average(self.entry_value, self.entry_qty)
    }

    /// The average exit price, half to even at the price scale; `None` before the first exit.
    pub fn exit_price(&self) -> Option<Price> {
        average(self.exit_value, self.exit_qty)
    }

    /// Profit of a finished trip after fees.
    ///
    /// # Errors
    /// When it leaves the range of money.
    pub fn profit(&self, definition: &Instrument) -> Result<Money, ValueError> {
        let net = i128::from(self.side.sign()) * (self.exit_value - self.entry_value);
        let factor = definition.notional_factor().unwrap_or_default();
        net.checked_mul(factor)
            .map(|gross| Money::from_raw(gross - self.fees.raw() + self.flows.raw()))
            .ok_or_else(|| {
                let why = tradeflow_model::ValueReason::OutOfRange("beyond ±1.7·10²⁰".into());
                ValueError::new(definition.symbol.as_str(), "profit", net, why)
            })
    }

    fn open_qty(&self) -> i64 {
        self.side.sign() * (self.entry_qty.raw() - self.exit_qty.raw())
    }
}

fn average(value: i128, qty: Qty) -> Option<Price> {
    if qty.is_zero() {
        return None;
    }
    i64::try_from(div_half_even(value, i128::from(qty.raw()))).ok().map(Price::from_raw)
}

/// The open trips of an account: at most one for each strategy and instrument.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RoundTrips {
    instruments: usize,
    /// By owner (0 is no strategy), then instrument.
    open: Vec<Option<RoundTrip>>,
}

impl RoundTrips {
    /// No open trips.
    pub fn new(instruments: usize, strategies: usize) -> Self {
        Self { instruments, open: vec![None; instruments * (strategies + 1)] }
    }

    /// Makes room for so many strategies.
    pub fn grow(&mut self, strategies: usize) {
        let size = self.instruments * (strategies + 1);
        self.open.resize(size.max(self.open.len()), None);
    }

    fn slot(&self, strategy: Option<StrategyIndex>, instrument: InstrumentId) -> usize {
        strategy.map_or(0, |s| s.index() + 1) * self.instruments + instrument.index()
    }

    /// What a strategy holds.
    pub fn position(&self, strategy: Option<StrategyIndex>, instrument: InstrumentId) -> Qty {
        let open = &self.open[self.slot(strategy, instrument)];
        Qty::from_raw(open.as_ref().map_or(0, RoundTrip::open_qty))
    }

    /// The open trips.
    pub fn open(&self) -> impl Iterator<Item = &RoundTrip> {
        self.open.iter().flatten()
    }

    /// Books a fill; puts out the trip that it ends.
    ///
    /// # Errors
    /// When a sum leaves its range.
    pub fn book_fill(
        &mut self,
        strategy: Option<StrategyIndex>,
        instrument: InstrumentId,
        ts_event: Timestamp,
        fill: &Fill,
        out: &mut Outbox<RoundTrip>,
    ) -> Result<(), Fault> {
        let slot = self.slot(strategy, instrument);
        let mut rest = fill.qty.raw();
        let mut fee = fill.fee.raw();
        let value = |qty: i64| i128::from(fill.price.raw()) * i128::from(qty);
        if let Some(trip) = self.open[slot].as_mut().filter(|trip| trip.side != fill.side) {
            let closed = rest.min(trip.open_qty().abs());
            let share = Money::from_raw(fee)
                .mul_ratio(i128::from(closed), i128::from(fill.qty.raw()))
                .ok_or_else(|| Fault::new("a fee leaves the range of money"))?
                .raw();
            trip.exit_qty = Qty::from_raw(trip.exit_qty.raw() + closed);
            trip.exit_value += value(closed);
            trip.fees = Money::from_raw(trip.fees.raw() + share);
            if trip.open_qty() == 0 {
                trip.exit_time = Some(ts_event);
                out.push(*trip)?;
                self.open[slot] = None;
            }
            rest -= closed;
            fee -= share;
        }
        if rest == 0 {
            return Ok(());
        }
        let trip = self.open[slot].get_or_insert(RoundTrip {
            strategy,
            instrument,
            side: fill.side,
            entry_time: ts_event,
            exit_time: None,
            entry_qty: Qty::ZERO,
            exit_qty: Qty::ZERO,
            entry_value: 0,
            exit_value: 0,
            fees: Money::ZERO,
            flows: Money::ZERO,
        });
        trip.entry_qty = trip
            .entry_qty
            .checked_add(Qty::from_raw(rest))
            .ok_or_else(|| Fault::new("the entries of a trade leave the range of quantities"))?;
        trip.entry_value += value(rest);
        trip.fees = Money::from_raw(trip.fees.raw() + fee);
        Ok(())
    }

    /// Books a split: each trip's quantities change in the ratio. `total` is what the account holds after it, so that
    /// trips and account agree; the fraction of a lot between them, and `paid_out` for it, go to the first trip.
    ///
    /// # Errors
    /// When a quantity leaves its range.
    pub fn book_split(
        &mut self,
        instrument: InstrumentId,
        new: u32,
        old: u32,
        total: Qty,
        paid_out: Money,
    ) -> Result<(), Fault> {
        let scaled = |qty: Qty| {
            i64::try_from(i128::from(qty.raw()) * i128::from(new) / i128::from(old))
                .map_err(|_| Fault::new("a split leaves the range of quantities"))
        };
        let mut missing = total.raw();
        let mut first = None;
        for slot in (instrument.index()..self.open.len()).step_by(self.instruments) {
            let Some(trip) = self.open[slot].as_mut() else { continue };
            let open = trip.open_qty().abs();
            let (entry, open) = (scaled(trip.entry_qty)?, scaled(Qty::from_raw(open))?);
            trip.entry_qty = Qty::from_raw(entry);
            trip.exit_qty = Qty::from_raw(entry - open);
            missing -= trip.open_qty();
            first = first.or(Some(slot));
        }
        let Some(trip) = first.and_then(|slot| self.open[slot].as_mut()) else { return Ok(()) };
        trip.exit_qty = Qty::from_raw(trip.exit_qty.raw() - trip.side.sign() * missing);
        trip.flows = Money::from_raw(trip.flows.raw() + paid_out.raw());
        Ok(())
    }

    /// Books a dividend to the trips that hold the instrument.
    ///
    /// # Errors
    /// When an amount leaves the range of money.
    pub fn book_dividend(
        &mut self,
        instrument: InstrumentId,
        definition: &Instrument,
        amount: Money,
    ) -> Result<(), Fault> {
        let one = i128::from(definition.one_unit());
        for trip in self.open.iter_mut().flatten().filter(|trip| trip.instrument == instrument) {
            let paid = amount
                .mul_ratio(i128::from(trip.open_qty()), one)
                .ok_or_else(|| Fault::new("a dividend leaves the range of money"))?;
            trip.flows = Money::from_raw(trip.flows.raw() + paid.raw());
        }
        Ok(())
    }
}
