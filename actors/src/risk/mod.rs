//! The risk gate: every order passes it before it leaves. One rule a file under `rules/`; a new rule is a file, a line
//! in [`rules_of`], and its limit in [`RiskLimits`].

mod rules;

use serde::{Deserialize, Serialize};
use tradeflow_model::order::{DenyReason, TrailOffset};
use tradeflow_model::plan::RiskLimits;
use tradeflow_model::{Instrument, Money, Order, OrderKind, Price};

use crate::account::Account;
use crate::actor::Fault;

pub use rules::rules_of;

/// What a rule may look at.
#[derive(Debug, Clone, Copy)]
pub struct RiskView<'a> {
    /// The account.
    pub account: &'a Account,
    /// The order's instrument.
    pub definition: &'a Instrument,
    /// Its last price; `None` before the first.
    pub last: Option<Price>,
    /// How many orders are open.
    pub open_orders: usize,
    /// Equity when the session opened.
    pub session_equity: Money,
    /// Highest equity so far.
    pub peak_equity: Money,
    /// Whether the order can only make the account's position smaller.
    pub reduces: bool,
}

/// A rule of the gate.
pub trait RiskRule: Send {
    /// The name, as in the configuration.
    fn name(&self) -> &'static str;

    /// Passes the order, or says what is too much.
    ///
    /// # Errors
    /// In words, with the numbers.
    fn check(&self, order: &Order, view: &RiskView<'_>) -> Result<(), String>;
}

/// The gate: rules, and what they need to remember.
pub struct RiskGate {
    limits: RiskLimits,
    rules: Vec<Box<dyn RiskRule>>,
    state: RiskState,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct RiskState {
    session_equity: Money,
    peak_equity: Money,
    mode: TradingMode,
}

/// Whether an account may open positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TradingMode {
    /// As its limits allow.
    #[default]
    Open,
    /// Paused: only orders that reduce pass.
    Paused,
    /// The kill switch was pulled: only orders that reduce pass, until someone resumes.
    Killed,
}

impl RiskGate {
    /// A gate with the rules of `limits`, for an account with this equity.
    ///
    /// # Errors
    /// When a limit has more decimals than money.
    pub fn new(limits: &RiskLimits, equity: Money) -> Result<Self, Fault> {
        Ok(Self {
            limits: *limits,
            rules: rules_of(limits).map_err(Fault::new)?,
            state: RiskState { session_equity: equity, peak_equity: equity, mode: TradingMode::Open },
        })
    }

    /// Remembers equity after each input.
    #[inline]
    pub fn on_equity(&mut self, equity: Money) {
        if equity > self.state.peak_equity {
            self.state.peak_equity = equity;
        }
    }

    /// A session opens: losses of the day count from here.
    pub fn on_session_open(&mut self, equity: Money) {
        self.state.session_equity = equity;
    }

    /// Passes an order, or says why not.
    ///
    /// # Errors
    /// The first rule that refuses.
    pub fn check(
        &self,
        order: &Order,
        account: &Account,
        last: Option<Price>,
        open_orders: usize,
    ) -> Result<(), DenyReason> {
        let definition = account.ledger().instrument(order.instrument);
        let held = account.ledger().position(order.instrument).qty.raw();
        let against = held.signum() == -order.side.sign();
        let view = RiskView {
            account,
            definition,
            last,
            open_orders,
            session_equity: self.state.session_equity,
            peak_equity: self.state.peak_equity,
            reduces: order.reduce_only || (against && order.qty.raw() <= held.abs()),
        };
        check_fields(order, definition)?;
        // Strategies that hold against each other close each for itself, whatever that does to the sum on the way.
        let own = account.strategy_position(order.strategy, order.instrument).raw();
        let closes = own.signum() == -order.side.sign() && order.qty.raw() <= own.abs();
        if self.state.mode != TradingMode::Open && !view.reduces && !closes {
            let (rule, detail) = match self.state.mode {
                TradingMode::Killed => {
                    ("kill_switch", "the kill switch was pulled; only orders that reduce pass")
                }
                _ => ("paused", "trading is paused; only orders that reduce pass"),
            };
            return Err(DenyReason::Rule { rule: rule.to_owned(), detail: detail.to_owned() });
        }
        for rule in &self.rules {
            rule.check(order, &view)
                .map_err(|detail| DenyReason::Rule { rule: rule.name().to_owned(), detail })?;
        }
        Ok(())
    }

    /// The limits that hold.
    pub fn limits(&self) -> &RiskLimits {
        &self.limits
    }

    /// Puts other limits in their place, for orders from now on. What the account has lost so far counts for them too.
    ///
    /// # Errors
    /// In words, when a limit has more decimals than money; the limits are then as before.
    pub fn set_limits(&mut self, limits: &RiskLimits) -> Result<(), String> {
        self.rules = rules_of(limits)?;
        self.limits = *limits;
        Ok(())
    }

    /// Whether the account may open positions.
    pub fn mode(&self) -> TradingMode {
        self.state.mode
    }

    /// Pauses, kills or opens trading.
    pub fn set_mode(&mut self, mode: TradingMode) {
        self.state.mode = mode;
    }

    pub(crate) fn state(&self) -> RiskState {
        self.state
    }

    pub(crate) fn set_state(&mut self, state: RiskState) {
        self.state = state;
    }
}

/// Quantity on the lot, prices on the tick.
fn check_fields(order: &Order, definition: &Instrument) -> Result<(), DenyReason> {
    if order.qty.is_zero() {
        return Err(DenyReason::SizeRoundsToZero);
    }
    let invalid = |error: tradeflow_model::ValueError| DenyReason::Invalid(error.to_string());
    definition.check_lot("quantity", order.qty).map_err(invalid)?;
    if let OrderKind::TrailingStop { offset, .. } = order.kind {
        match offset {
            TrailOffset::Price(distance) if distance > Price::ZERO => {
                definition.check_tick("trailing distance", distance).map_err(invalid)?;
            }
            TrailOffset::Bps(1..=10_000) => {}
            _ => {
                let why = "must be above zero, and in basis points at most 10000";
                return Err(DenyReason::Invalid(format!(
                    "{}: the trailing distance {why}",
                    definition.symbol
                )));
            }
        }
    }
    for (field, price) in [("limit price", order.kind.limit_price()), ("trigger", order.kind.trigger())] {
        if let Some(price) = price {
            definition.check_tick(field, price).map_err(invalid)?;
        }
    }
    Ok(())
}
