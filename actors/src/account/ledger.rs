//! Cash, positions and what they are worth.
//!
//! # Invariants
//! - **Balance (I5)**, asserted after every change: `cash + holdings = start + flows + realized + unrealized − fees`.
//!   The left side is kept by what cash moves and what positions are worth; the right side by cost and profit. They
//!   are separate sums, exact to 10⁻¹⁸, and must always be equal.
//! - Every change costs the same however many positions there are: totals move by the difference.
//!
//! # How a fill moves cash
//! An instrument paid in full (share, coin) moves its whole value between cash and position. A contract held on margin
//! (FX, future, perpetual) moves only profit and loss, when it is closed; its position is worth its unrealized profit.

use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tradeflow_model::money::div_half_even;
use tradeflow_model::{AccountSpec, Fill, Instrument, InstrumentId, Money, Price, Qty, ValueReason};

use crate::actor::Fault;

/// A position in one instrument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Position {
    /// Quantity, positive when long, negative when short.
    pub qty: Qty,
    /// What the open quantity cost: its value at the entry prices, with its sign.
    pub cost: Money,
    /// The last price seen; zero before the first.
    pub mark: Price,
    /// Value at the mark, with its sign.
    pub value: Money,
    /// Profit of closed parts, before fees.
    pub realized: Money,
    /// Fees paid.
    pub fees: Money,
}

impl Position {
    /// Profit of the open part at the mark.
    #[inline]
    pub fn unrealized(&self) -> Money {
        Money::from_raw(self.value.raw() - self.cost.raw())
    }

    /// The cost of `part` of the quantity held, of the same sign.
    fn cost_of(&self, part: i64) -> Result<i128, Fault> {
        if part == 0 {
            return Ok(0);
        }
        let cost = self.cost.mul_ratio(i128::from(part), i128::from(self.qty.raw()));
        cost.map(Money::raw).ok_or_else(|| overflow("the cost of a position"))
    }

    /// What it adds to equity.
    #[inline]
    fn carried(&self, paid_in_full: bool) -> i128 {
        if paid_in_full { self.value.raw() } else { self.value.raw() - self.cost.raw() }
    }
}

/// The books of one account.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ledger {
    #[serde(skip, default = "no_instruments")]
    instruments: Arc<[Instrument]>,
    /// `notional_factor` and whether it is paid in full, by instrument: looked up on every mark.
    #[serde(skip)]
    factors: Vec<(i128, bool)>,
    positions: Vec<Position>,
    start: Money,
    cash: Money,
    /// Σ of what positions add to equity.
    holdings: i128,
    /// Σ |value| of positions.
    exposure: i128,
    /// Dividends and other cash that is neither profit nor fee.
    flows: i128,
    realized: i128,
    unrealized: i128,
    fees: i128,
}

fn no_instruments() -> Arc<[Instrument]> {
    Arc::from([])
}

fn overflow(what: &str) -> Fault {
    Fault::new(format!("{what} leaves the range of money (±1.7·10²⁰)"))
}

impl Ledger {
    /// The books at the start: the balance as cash, no positions.
    ///
    /// # Errors
    /// When an instrument does not settle in the account's currency, or the balance does not fit.
    pub fn new(spec: &AccountSpec, instruments: Arc<[Instrument]>) -> Result<Self, Fault> {
        for instrument in instruments.iter() {
            if instrument.settlement != spec.currency {
                return Err(Fault::new(format!(
                    "{} settles in {}, but account {} is kept in {}: use an account in {}",
                    instrument.symbol, instrument.settlement, spec.id, spec.currency, instrument.settlement
                )));
            }
        }
        let start = Money::from_decimal(spec.balance).map_err(|why: ValueReason| {
            Fault::new(format!("account {}: balance {} {why}", spec.id, spec.balance))
        })?;
        let mut ledger = Self {
            positions: vec![Position::default(); instruments.len()],
            instruments: no_instruments(),
            factors: Vec::new(),
            start,
            cash: start,
            holdings: 0,
            exposure: 0,
            flows: 0,
            realized: 0,
            unrealized: 0,
            fees: 0,
        };
        ledger.attach(&instruments);
        Ok(ledger)
    }

    /// Gives a ledger read from a snapshot its instruments back.
    pub fn attach(&mut self, instruments: &Arc<[Instrument]>) {
        self.instruments = instruments.clone();
        self.factors = instruments
            .iter()
            .map(|i| (i.notional_factor().expect("checked when built"), i.class.is_paid_in_full()))
            .collect();
    }

    /// The instruments.
    pub fn instruments(&self) -> &Arc<[Instrument]> {
        &self.instruments
    }

    /// An instrument.
    ///
    /// # Panics
    /// When there is no such instrument.
    #[inline]
    pub fn instrument(&self, id: InstrumentId) -> &Instrument {
        &self.instruments[id.index()]
    }

    /// The position in an instrument.
    ///
    /// # Panics
    /// When there is no such instrument.
    #[inline]
    pub fn position(&self, id: InstrumentId) -> &Position {
        &self.positions[id.index()]
    }

    /// Cash.
    #[inline]
    pub fn cash(&self) -> Money {
        self.cash
    }

    /// Cash and what all positions add to it.
    #[inline]
    pub fn equity(&self) -> Money {
        Money::from_raw(self.cash.raw() + self.holdings)
    }

    /// Value of all positions at their marks, long and short added up.
    pub fn exposure(&self) -> Money {
        Money::from_raw(self.exposure)
    }

    /// The balance at the start.
    pub fn start(&self) -> Money {
        self.start
    }

    /// Fees paid so far.
    pub fn fees(&self) -> Money {
        Money::from_raw(self.fees)
    }

    /// Profit of closed parts so far, before fees.
    pub fn realized(&self) -> Money {
        Money::from_raw(self.realized)
    }

    /// Profit of open parts at their marks.
    #[inline]
    pub fn unrealized(&self) -> Money {
        Money::from_raw(self.unrealized)
    }

    /// Dividends so far.
    pub fn flows(&self) -> Money {
        Money::from_raw(self.flows)
    }

    /// Values the position in an instrument at a new price.
    ///
    /// # Errors
    /// When a value leaves the range of money, or the books do not balance.
    #[inline]
    pub fn mark(&mut self, id: InstrumentId, price: Price) -> Result<(), Fault> {
        let position = &mut self.positions[id.index()];
        if position.mark == price {
            return Ok(());
        }
        if position.qty.is_zero() {
            position.mark = price;
            return Ok(());
        }
        // The hot path: value, holdings and unrealized profit move by the same amount, and nothing else moves.
        let (factor, _) = self.factors[id.index()];
        let (old, new) = (i128::from(position.mark.raw()), i128::from(price.raw()));
        let moved = ((new - old) * i128::from(position.qty.raw()))
            .checked_mul(factor)
            .ok_or_else(|| overflow("a value"))?;
        let before = position.value.raw();
        position.mark = price;
        position.value = Money::from_raw(before + moved);
        self.holdings += moved;
        self.unrealized += moved;
        self.exposure += (before + moved).abs() - before.abs();
        self.assert_balance()
    }

    /// Books a fill: position, cost, profit, cash and fee.
    ///
    /// # Errors
    /// When a value leaves the range of money, or the books do not balance.
    pub fn book_fill(&mut self, id: InstrumentId, fill: &Fill) -> Result<(), Fault> {
        let (_, paid_in_full) = self.factors[id.index()];
        let signed = fill.side.sign() * fill.qty.raw();
        let mut after = self.positions[id.index()];
        let held = after.qty.raw();
        // The part of what is held that the fill closes, with the sign of what is held; the rest of the fill opens.
        let closed =
            if held.signum() == -signed.signum() { held.signum() * signed.abs().min(held.abs()) } else { 0 };
        let cost = after.cost_of(closed)?;
        let realized = self.value(id, fill.price, closed)? - cost;
        let opened = self.value(id, fill.price, signed + closed)?;
        after.cost = Money::from_raw(after.cost.raw() - cost + opened);
        after.qty = held.checked_add(signed).map(Qty::from_raw).ok_or_else(|| overflow("a position"))?;
        after.realized = Money::from_raw(after.realized.raw() + realized);
        after.fees = Money::from_raw(after.fees.raw() + fill.fee.raw());
        if after.mark == Price::ZERO {
            after.mark = fill.price;
        }
        let moved = if paid_in_full { -self.value(id, fill.price, signed)? } else { realized };
        self.move_cash(moved - fill.fee.raw())?;
        self.realized += realized;
        self.fees += fill.fee.raw();
        self.replace(id, after)?;
        self.assert_balance()
    }

    /// Books a split: each `old` units become `new`. A fraction of a lot that would come up is paid out at the mark;
    /// returns what was.
    ///
    /// # Errors
    /// When the split has a zero in it, or a value leaves its range.
    pub fn book_split(&mut self, id: InstrumentId, new: u32, old: u32) -> Result<Money, Fault> {
        let (_, paid_in_full) = self.factors[id.index()];
        let definition = &self.instruments[id.index()];
        if new == 0 || old == 0 {
            return Err(Fault::new(format!("{}: a split of {new} for {old}", definition.symbol)));
        }
        let (new, old) = (i128::from(new), i128::from(old));
        let lot = i128::from(definition.size_increment.raw());
        let mut after = self.positions[id.index()];
        // Quantities here are in units of 1/old of the smallest quantity, so that nothing is rounded.
        let exact = i128::from(after.qty.raw()) * new;
        let whole = exact / (old * lot) * lot;
        let fraction = exact - whole * old;
        let share = |amount: Money| {
            if exact == 0 {
                return Ok(0);
            }
            amount.mul_ratio(fraction, exact).map(Money::raw).ok_or_else(|| overflow("a split"))
        };
        let (paid_out, cost) = (share(after.value)?, share(after.cost)?);
        let mark = div_half_even(i128::from(after.mark.raw()) * old, new);
        after.mark =
            i64::try_from(mark).map(Price::from_raw).map_err(|_| overflow("a price after a split"))?;
        after.qty =
            i64::try_from(whole).map(Qty::from_raw).map_err(|_| overflow("a position after a split"))?;
        after.cost = Money::from_raw(after.cost.raw() - cost);
        after.realized = Money::from_raw(after.realized.raw() + paid_out - cost);
        self.realized += paid_out - cost;
        self.move_cash(if paid_in_full { paid_out } else { paid_out - cost })?;
        self.replace(id, after)?;
        self.assert_balance()?;
        Ok(Money::from_raw(paid_out))
    }

    /// Books a dividend: cash for each unit held, paid by a short. Returns what was paid.
    ///
    /// # Errors
    /// When a value leaves the range of money.
    pub fn book_dividend(&mut self, id: InstrumentId, amount: Money) -> Result<Money, Fault> {
        let qty = i128::from(self.positions[id.index()].qty.raw());
        let one = i128::from(self.instruments[id.index()].one_unit());
        let paid = amount.mul_ratio(qty, one).ok_or_else(|| overflow("a dividend"))?;
        self.move_cash(paid.raw())?;
        self.flows += paid.raw();
        self.assert_balance()?;
        Ok(paid)
    }

    /// The value of a signed raw quantity at a price.
    #[inline]
    fn value(&self, id: InstrumentId, price: Price, qty: i64) -> Result<i128, Fault> {
        let (factor, _) = self.factors[id.index()];
        (i128::from(price.raw()) * i128::from(qty)).checked_mul(factor).ok_or_else(|| overflow("a value"))
    }

    fn move_cash(&mut self, by: i128) -> Result<(), Fault> {
        self.cash = self.cash.raw().checked_add(by).map(Money::from_raw).ok_or_else(|| overflow("cash"))?;
        Ok(())
    }

    /// Puts a changed position in the place of the old one: brings its value in line with quantity and mark, and
    /// moves the totals by the difference.
    #[inline]
    fn replace(&mut self, id: InstrumentId, mut after: Position) -> Result<(), Fault> {
        let (_, paid_in_full) = self.factors[id.index()];
        after.value = Money::from_raw(self.value(id, after.mark, after.qty.raw())?);
        let before = std::mem::replace(&mut self.positions[id.index()], after);
        self.holdings += after.carried(paid_in_full) - before.carried(paid_in_full);
        self.unrealized += after.unrealized().raw() - before.unrealized().raw();
        self.exposure += after.value.raw().abs() - before.value.raw().abs();
        Ok(())
    }

    #[inline]
    fn assert_balance(&self) -> Result<(), Fault> {
        let have = self.cash.raw() + self.holdings;
        let owed = self.start.raw() + self.flows + self.realized + self.unrealized - self.fees;
        if have == owed {
            return Ok(());
        }
        Err(self.out_of_balance(have, owed))
    }

    #[cold]
    fn out_of_balance(&self, have: i128, owed: i128) -> Fault {
        let text = |raw| Money::from_raw(raw).to_string();
        Fault::new(format!(
            "the ledger does not balance: cash {} + holdings {} = {}, but start {} + flows {} + realized {} + \
             unrealized {} - fees {} = {}",
            self.cash,
            text(self.holdings),
            text(have),
            self.start,
            text(self.flows),
            text(self.realized),
            text(self.unrealized),
            text(self.fees),
            text(owed)
        ))
    }

    /// Compares cash and one position with another ledger of the same account, as with a broker's statement.
    ///
    /// # Errors
    /// Names the difference.
    pub fn reconcile(&self, other: &Self, id: InstrumentId) -> Result<(), Fault> {
        if self.cash != other.cash {
            return Err(Fault::new(format!("cash is {} here and {} at the venue", self.cash, other.cash)));
        }
        let (ours, theirs) = (self.position(id).qty, other.position(id).qty);
        if ours == theirs {
            return Ok(());
        }
        let definition = &self.instruments[id.index()];
        Err(Fault::new(format!(
            "{}: the position is {} here and {} at the venue",
            definition.symbol,
            definition.qty_text(ours),
            definition.qty_text(theirs)
        )))
    }
}

#[cfg(test)]
#[allow(clippy::inconsistent_digit_grouping, reason = "cents stand apart: 1_000_00 is 1000.00")]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tradeflow_model::order::Liquidity;
    use tradeflow_model::{AccountId, AccountKind, AssetClass, Currency, Side, Symbol};

    fn usd() -> Currency {
        Currency::new("USD").unwrap()
    }

    fn instruments() -> Arc<[Instrument]> {
        let make = |symbol: &str, class, price_scale, size_scale| {
            let base = Currency::new("BASE").unwrap();
            Instrument::new(Symbol::new(symbol).unwrap(), class, base, usd(), price_scale, size_scale)
                .unwrap()
        };
        let mut future = make("FUT", AssetClass::Future, 2, 0);
        future.multiplier = 50.into();
        Arc::from([make("STK", AssetClass::Equity, 4, 0), make("COIN", AssetClass::CryptoSpot, 2, 8), future])
    }

    fn ledger() -> Ledger {
        let spec = AccountSpec {
            id: AccountId::new("test").unwrap(),
            kind: AccountKind::Cash,
            currency: usd(),
            balance: 100_000.into(),
        };
        Ledger::new(&spec, instruments()).unwrap()
    }

    fn fill(side: Side, price: i64, qty: i64, fee: i64) -> Fill {
        Fill {
            side,
            price: Price::from_raw(price),
            qty: Qty::from_raw(qty),
            fee: Money::from_units(fee),
            liquidity: Liquidity::Taker,
        }
    }

    #[test]
    fn a_share_moves_its_value_and_a_future_only_its_profit() {
        let (stock, future) = (InstrumentId(0), InstrumentId(2));
        let mut books = ledger();
        books.book_fill(stock, &fill(Side::Buy, 100_0000, 10, 1)).unwrap();
        assert_eq!(books.cash(), Money::from_units(98_999));
        books.mark(stock, Price::from_raw(110_0000)).unwrap();
        assert_eq!(books.equity(), Money::from_units(100_099));
        books.book_fill(future, &fill(Side::Sell, 4000_00, 2, 4)).unwrap();
        assert_eq!(books.cash(), Money::from_units(98_995));
        books.book_fill(future, &fill(Side::Buy, 3990_00, 3, 6)).unwrap();
        assert_eq!(books.cash(), Money::from_units(98_995 + 2 * 10 * 50 - 6));
        assert_eq!(books.position(future).qty, Qty::from_raw(1));
        assert_eq!(books.realized(), Money::from_units(1_000));
    }

    #[test]
    fn a_split_changes_no_value_and_pays_out_fractions() {
        let stock = InstrumentId(0);
        let mut books = ledger();
        books.book_fill(stock, &fill(Side::Buy, 90_0000, 7, 0)).unwrap();
        books.mark(stock, Price::from_raw(120_0000)).unwrap();
        let equity = books.equity();
        books.book_split(stock, 3, 2).unwrap();
        assert_eq!(books.position(stock).qty, Qty::from_raw(10));
        assert_eq!(books.position(stock).mark, Price::from_raw(80_0000));
        assert_eq!(books.equity(), equity);
        books.book_split(stock, 1, 20).unwrap();
        assert_eq!(books.position(stock).qty, Qty::ZERO);
        assert_eq!(books.equity(), equity);
    }

    #[test]
    fn a_dividend_is_paid_by_a_short() {
        let stock = InstrumentId(0);
        let mut books = ledger();
        books.book_fill(stock, &fill(Side::Sell, 90_0000, 100, 0)).unwrap();
        let amount = Money::from_decimal("0.25".parse().unwrap()).unwrap();
        assert_eq!(books.book_dividend(stock, amount).unwrap(), Money::from_units(-25));
        assert_eq!(books.equity(), Money::from_units(99_975));
    }

    proptest! {
        /// The oracle keeps nothing but cash and quantities, and values all of it anew.
        #[test]
        fn random_fills_balance_and_agree_with_plain_book_keeping(
            steps in proptest::collection::vec((0_u32..3, any::<bool>(), 1_i64..1_000_000, 1_i64..1000, 0_i64..50), 1..60),
        ) {
            let mut books = ledger();
            let definitions = instruments();
            let mut flow = 0_i128;
            let mut held = [0_i64; 3];
            let mut marks = [0_i64; 3];
            for (id, buy, price, qty, fee) in steps {
                let side = if buy { Side::Buy } else { Side::Sell };
                let index = id as usize;
                books.book_fill(InstrumentId(id), &fill(side, price, qty, fee)).unwrap();
                books.mark(InstrumentId(id), Price::from_raw(price)).unwrap();
                held[index] += side.sign() * qty;
                marks[index] = price;
                let value = definitions[index].notional(Price::from_raw(price), Qty::from_raw(side.sign() * qty));
                flow -= value.unwrap().raw() + Money::from_units(fee).raw();
                let worth: i128 = (0..3)
                    .map(|i| definitions[i].notional(Price::from_raw(marks[i]), Qty::from_raw(held[i])).unwrap().raw())
                    .sum();
                prop_assert_eq!(books.equity().raw(), Money::from_units(100_000).raw() + flow + worth);
            }
        }
    }
}
