//! The account actor: ledger, positions, and the round trips of its strategies.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`Account`], which takes fills, prices and corporate actions |
//! | `ledger.rs` | [`Ledger`]: cash, positions and what they are worth, exact, with the balance invariant |
//! | `round_trip.rs` | trades from flat to flat, by strategy and instrument |

mod ledger;
mod round_trip;

pub use ledger::{Ledger, Position};
pub use round_trip::{RoundTrip, RoundTrips};

use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tradeflow_model::market::ActionKind;
use tradeflow_model::{
    AccountSpec, CorporateAction, Fill, Instrument, InstrumentId, Money, Price, Qty, StrategyIndex, Timestamp,
};

use crate::actor::{Actor, Fault, Outbox};

/// What an account is told.
#[derive(Debug, Clone, Copy)]
pub enum AccountInput<'a> {
    /// An order of a strategy (or a person) traded.
    Fill {
        /// Whose order.
        strategy: Option<StrategyIndex>,
        /// The instrument.
        instrument: InstrumentId,
        /// When it traded.
        ts_event: Timestamp,
        /// The fill.
        fill: &'a Fill,
    },
    /// The instrument is worth this now.
    Mark {
        /// The instrument.
        instrument: InstrumentId,
        /// Its price.
        price: Price,
    },
    /// A split or dividend.
    Action(&'a CorporateAction),
}

/// An account.
#[derive(Debug, Clone)]
pub struct Account {
    spec: Arc<AccountSpec>,
    ledger: Ledger,
    trips: RoundTrips,
}

#[derive(Serialize, Deserialize)]
struct State {
    ledger: Ledger,
    trips: RoundTrips,
}

impl Account {
    /// An account at its start.
    ///
    /// # Errors
    /// When an instrument does not settle in the account's currency, or the balance has too many decimals.
    pub fn new(
        spec: Arc<AccountSpec>,
        instruments: &Arc<[Instrument]>,
        strategies: usize,
    ) -> Result<Self, Fault> {
        let ledger = Ledger::new(&spec, instruments.clone())?;
        let trips = RoundTrips::new(instruments.len(), strategies);
        Ok(Self { spec, ledger, trips })
    }

    /// What the account is.
    pub fn spec(&self) -> &AccountSpec {
        &self.spec
    }

    /// Cash, positions and values.
    #[inline]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Cash and the value of all positions.
    #[inline]
    pub fn equity(&self) -> Money {
        self.ledger.equity()
    }

    /// What a strategy holds of an instrument, positive when long.
    pub fn strategy_position(&self, strategy: Option<StrategyIndex>, instrument: InstrumentId) -> Qty {
        self.trips.position(strategy, instrument)
    }

    /// Makes room for so many strategies.
    pub fn grow(&mut self, strategies: usize) {
        self.trips.grow(strategies);
    }

    /// The trades still open, by strategy and instrument.
    pub fn open_trips(&self) -> impl Iterator<Item = &RoundTrip> {
        self.trips.open()
    }

    /// Marks an instrument: the hot path of [`AccountInput::Mark`].
    ///
    /// # Errors
    /// When a value leaves the range of money, or the ledger does not balance.
    #[inline]
    pub fn mark(&mut self, instrument: InstrumentId, price: Price) -> Result<(), Fault> {
        self.ledger.mark(instrument, price)
    }
}

impl Actor for Account {
    type Input<'a> = AccountInput<'a>;
    type Output = RoundTrip;

    /// Books the input. Puts out the trades that it ends.
    fn handle(
        &mut self,
        _now: Timestamp,
        input: AccountInput<'_>,
        out: &mut Outbox<RoundTrip>,
    ) -> Result<(), Fault> {
        match input {
            AccountInput::Fill { strategy, instrument, ts_event, fill } => {
                self.ledger.book_fill(instrument, fill)?;
                self.trips.book_fill(strategy, instrument, ts_event, fill, out)
            }
            AccountInput::Mark { instrument, price } => self.ledger.mark(instrument, price),
            AccountInput::Action(action) => {
                match action.kind {
                    ActionKind::Split { new, old } => {
                        let paid_out = self.ledger.book_split(action.instrument, new, old)?;
                        let total = self.ledger.position(action.instrument).qty;
                        self.trips.book_split(action.instrument, new, old, total, paid_out)?;
                    }
                    ActionKind::Dividend { amount } => {
                        self.ledger.book_dividend(action.instrument, amount)?;
                        let definition = &self.ledger.instruments()[action.instrument.index()];
                        self.trips.book_dividend(action.instrument, definition, amount)?;
                    }
                }
                Ok(())
            }
        }
    }

    fn snapshot(&self) -> Result<Vec<u8>, Fault> {
        let state = State { ledger: self.ledger.clone(), trips: self.trips.clone() };
        Ok(postcard::to_allocvec(&state)?)
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), Fault> {
        let mut state: State = postcard::from_bytes(snapshot)?;
        state.ledger.attach(self.ledger.instruments());
        self.ledger = state.ledger;
        self.trips = state.trips;
        Ok(())
    }
}
