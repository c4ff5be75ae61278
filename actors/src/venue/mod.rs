//! The simulated venue: paper trading and backtests share this one matching engine.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`SimVenue`]: commands and market events in, reports out |
//! | `book.rs` | resting orders of an instrument, found by price |
//! | `matching.rs` | what trades at a bar, a trade, a quote, an auction |
//! | `filling.rs` | one fill: quantity, slippage, fee, funds, reports, contingencies |
//! | `bracket.rs` | one-triggers-other and one-cancels-other |
//!
//! # Invariants
//! - An order is matched against data that came after it (I7): a bar counts only if it *opened* at or after the order's
//!   submission.
//! - The venue keeps books of its own, as a broker does; the cell compares them with the account's after every input.
//! - Work for an event depends on the orders that trade, not on those that rest. (Trailing stops are the exception: each
//!   follows every price.)
//!
//! # Honest defaults
//! - A market order sent on a bar fills at the next bar's open; a stop in a gap fills at the open.
//! - Within a bar stops go before limits, also for exits whose entry fills in the same bar; a target of such an exit
//!   waits for the next bar unless the entry filled at the open.
//! - A resting limit fills when the price trades *through* it ([`LimitFill`]).
//! - Fills are capped by a share of the volume; crossed quotes and stale prices fill nothing.
//! - It is always there, unless the plan asks for refusals ([`VenueSpec::refused_share`]).
//!
//! # Limitations
//! No queue position, no latency, no auction imbalance, no margin calls, no interest on borrowed cash or short sales.
//!
//! [`LimitFill`]: tradeflow_model::plan::LimitFill

mod book;
mod bracket;
mod filling;
mod matching;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use tradeflow_model::market::SessionPhase;
use tradeflow_model::order::{EndReason, Execution, RejectReason};
use tradeflow_model::plan::VenueSpec;
use tradeflow_model::{
    AccountKind, AccountSpec, Digest, Instrument, InstrumentId, MarketEvent, Order, OrderEvent,
    OrderEventKind, OrderId, OrderKind, OrderStatus, Price, SeriesId, Side, Timestamp,
};

use crate::account::Ledger;
use crate::actor::{Actor, Fault, Outbox, seal, unseal};
use crate::execution::VenueCommand;
use crate::execution::costs::Costs;
use book::Book;
use bracket::Brackets;

/// What the venue is told.
#[derive(Debug, Clone, Copy)]
pub enum VenueInput<'a> {
    /// Something happened in the market.
    Market(&'a MarketEvent),
    /// The router wants something.
    Command(&'a VenueCommand),
}

/// The state of the venue: what a snapshot holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct State {
    ledger: Ledger,
    books: Vec<Book>,
    orders: BTreeMap<OrderId, Order>,
    brackets: Brackets,
    /// Fills larger than a tenth of the volume they traded in.
    fills_over_volume: u64,
}

/// The simulated venue of one account.
#[derive(Debug, Clone)]
pub struct SimVenue {
    spec: VenueSpec,
    /// Of everything it was built from: a snapshot is of a venue with the same.
    fingerprint: Digest,
    /// Position value over equity that opening may reach, as a ratio; `None` for a cash account.
    leverage: Option<(i128, i128)>,
    /// Share of volume as a ratio.
    volume_share: Option<(i128, i128)>,
    costs: Vec<Costs>,
    /// The series whose events match orders, by instrument.
    matched: Vec<Option<SeriesId>>,
    state: State,
    /// Exits that just came to life, with the price at which their entry filled; empty between two inputs.
    awakened: Vec<(OrderId, Price)>,
}

impl SimVenue {
    /// A venue for an account. `matched` names, for each instrument, the series whose events fill orders: the finest.
    ///
    /// # Errors
    /// In words, when a fee, slippage, share or leverage makes no sense.
    pub fn new(
        account: &AccountSpec,
        instruments: &Arc<[Instrument]>,
        spec: VenueSpec,
        matched: Vec<Option<SeriesId>>,
    ) -> Result<Self, Fault> {
        let costs =
            instruments.iter().map(|i| Costs::new(i, &spec)).collect::<Result<_, _>>().map_err(Fault::new)?;
        let leverage = match account.kind {
            AccountKind::Cash => None,
            AccountKind::Margin { leverage } => Some((leverage.mantissa(), 10_i128.pow(leverage.scale()))),
        };
        let volume_share = spec.volume_share_max.map(|share| (share.mantissa(), 10_i128.pow(share.scale())));
        if leverage.is_some_and(|(n, d)| n < d) || volume_share.is_some_and(|(n, _)| n <= 0) {
            return Err(Fault::new("leverage must be 1 or above, and the share of volume above zero"));
        }
        let state = State {
            ledger: Ledger::new(account, instruments.clone())?,
            books: instruments.iter().map(|_| Book::default()).collect(),
            orders: BTreeMap::new(),
            brackets: Brackets::default(),
            fills_over_volume: 0,
        };
        let fingerprint = Digest::of_json(&(account, &**instruments, spec, &matched));
        let awakened = Vec::new();
        Ok(Self { spec, fingerprint, leverage, volume_share, costs, matched, state, awakened })
    }

    /// The venue's own books.
    pub fn ledger(&self) -> &Ledger {
        &self.state.ledger
    }

    /// Costs of an instrument here.
    pub fn costs(&self, instrument: InstrumentId) -> &Costs {
        &self.costs[instrument.index()]
    }

    /// How many fills were larger than a tenth of the volume they traded in.
    pub fn fills_over_volume(&self) -> u64 {
        self.state.fills_over_volume
    }

    /// The orders that work, by id.
    pub fn orders(&self) -> impl Iterator<Item = &Order> {
        self.state.orders.values()
    }

    /// How many orders work.
    pub fn working(&self) -> usize {
        self.state.orders.len()
    }

    /// Takes a market event: the hot path of [`VenueInput::Market`].
    ///
    /// # Errors
    /// A broken invariant.
    #[inline]
    pub fn on_market(
        &mut self,
        now: Timestamp,
        event: &MarketEvent,
        out: &mut Outbox<OrderEvent>,
    ) -> Result<(), Fault> {
        let instrument = event.instrument();
        match event {
            MarketEvent::Session(session) => self.on_session(now, instrument, session.phase, out),
            MarketEvent::Action(action) => self.on_action(now, action, out),
            MarketEvent::Bar(bar) => self.on_price(now, event, bar.close, out),
            MarketEvent::Trade(trade) => self.on_price(now, event, trade.price, out),
            MarketEvent::Quote(quote) => self.on_price(now, event, mid(quote.bid, quote.ask), out),
        }
    }

    #[inline]
    fn on_price(
        &mut self,
        now: Timestamp,
        event: &MarketEvent,
        last: Price,
        out: &mut Outbox<OrderEvent>,
    ) -> Result<(), Fault> {
        let instrument = event.instrument();
        if self.matched[instrument.index()] == Some(event.series()) {
            if !self.state.orders.is_empty() {
                self.expire(now, instrument, event, out)?;
            }
            if self.can_fill(event) {
                if !self.state.orders.is_empty() {
                    self.match_event(now, event, out)?;
                }
                let book = &mut self.state.books[instrument.index()];
                if book.last.is_none() || event.ts_event() >= book.ts_last {
                    book.last = Some(last);
                    book.ts_last = event.ts_event();
                    if let MarketEvent::Quote(quote) = event {
                        book.touch = Some((quote.bid, quote.ask));
                    }
                }
            }
        }
        // Any series marks the position, as in the account: the books of the two must agree.
        self.state.ledger.mark(instrument, last)
    }

    /// Whether anyone could have traded at the event's price: a crossed or a stale one fills nothing.
    fn can_fill(&self, event: &MarketEvent) -> bool {
        let (ts_event, ts_init) = match event {
            MarketEvent::Quote(quote) if quote.bid > quote.ask => return false,
            MarketEvent::Quote(quote) => (quote.ts_event, quote.ts_init),
            MarketEvent::Trade(trade) => (trade.ts_event, trade.ts_init),
            _ => return true,
        };
        let age = ts_init.as_nanos().saturating_sub(ts_event.as_nanos());
        self.spec.stale_after_ns.is_none_or(|limit| age <= limit)
    }

    fn on_command(
        &mut self,
        now: Timestamp,
        command: &VenueCommand,
        out: &mut Outbox<OrderEvent>,
    ) -> Result<(), Fault> {
        match command {
            VenueCommand::Submit(order) => self.submit(now, order, out),
            VenueCommand::Cancel(id) => {
                if !self.state.orders.contains_key(id) {
                    return Ok(()); // it ended in the meantime: its own report is on the way
                }
                self.report(*id, now, now, OrderEventKind::CancelRequested, None)?;
                self.close(*id, now, now, OrderEventKind::Cancelled(EndReason::Requested), out)
            }
            VenueCommand::Modify { order, qty, price, trigger } => {
                let kind = OrderEventKind::Modified { qty: *qty, price: *price, trigger: *trigger };
                self.modify(now, *order, kind, out)
            }
        }
    }

    /// Changes an order. What its state does not allow any more (it filled in the meantime) is declined: the order stays
    /// as it was.
    fn modify(
        &mut self,
        now: Timestamp,
        id: OrderId,
        kind: OrderEventKind,
        out: &mut Outbox<OrderEvent>,
    ) -> Result<(), Fault> {
        let Some(before) = self.state.orders.get(&id).cloned() else { return Ok(()) };
        let event = OrderEvent { order: id, ts_event: now, ts_init: now, kind };
        if before.clone().apply(&event).is_err() {
            return Ok(());
        }
        self.report(id, now, now, event.kind, Some(out))?;
        let book = &mut self.state.books[before.instrument.index()];
        match before.execution {
            // The change counts from now: what of the market came before it, matched the order as it was.
            Execution::Continuous if book.unqueue(&before) => book.await_next(id, now),
            Execution::OnClose if book.unqueue(&before) => book.on_close.push_back((id, now)),
            _ => {}
        }
        Ok(())
    }

    fn submit(&mut self, now: Timestamp, order: &Order, out: &mut Outbox<OrderEvent>) -> Result<(), Fault> {
        let id = order.id;
        if self.state.orders.insert(id, order.clone()).is_some() {
            return Err(Fault::new(format!("order {id} reached the venue twice")));
        }
        if let Some(reason) = self.refuses(now, order) {
            self.report(id, now, now, OrderEventKind::Rejected(reason), Some(out))?;
            self.state.orders.remove(&id);
            return self.settle_bracket(order, now, now, out);
        }
        self.report(id, now, now, OrderEventKind::Accepted, Some(out))?;
        if order.parent.is_some_and(|parent| !self.state.orders.contains_key(&parent)) {
            // Its entry was refused, or has ended: it could never come to life.
            return self.close(id, now, now, OrderEventKind::Cancelled(EndReason::Contingent), out);
        }
        self.state.brackets.add(order);
        let book = &mut self.state.books[order.instrument.index()];
        book.note_date(order);
        match (order.parent, order.execution) {
            (Some(_), _) => {} // comes to life with its parent's first fill
            (None, Execution::Continuous) => book.await_next(id, now),
            (None, Execution::OnOpen) => book.on_open.push_back(id),
            (None, Execution::OnClose) => book.on_close.push_back((id, now)),
        }
        Ok(())
    }

    /// Whether this is one of the orders that are refused for no fault of their own.
    fn is_away_for(&self, id: OrderId) -> bool {
        self.spec.refused_share.is_some_and(|share| {
            let digest = Digest::of_json(&(self.fingerprint, id));
            let [a, b, c, d, ..] = *digest.as_bytes();
            Decimal::from(u32::from_be_bytes([a, b, c, d])) < share * Decimal::from(1_u64 << 32)
        })
    }

    fn refuses(&self, now: Timestamp, order: &Order) -> Option<RejectReason> {
        if self.is_away_for(order.id) {
            return Some(RejectReason::Unavailable);
        }
        let definition = self.state.ledger.instrument(order.instrument);
        if definition.expiry.is_some_and(|expiry| now >= expiry) {
            return Some(RejectReason::Expired);
        }
        if self.matched[order.instrument.index()].is_none() {
            return Some(RejectReason::Unsupported("orders in an instrument without data".into()));
        }
        let auction = order.execution != Execution::Continuous;
        if auction && !matches!(order.kind, OrderKind::Market | OrderKind::Limit { .. }) {
            let what = format!("a {} order at an auction", order.kind.name());
            return Some(RejectReason::Unsupported(what));
        }
        let held = self.state.ledger.position(order.instrument).qty.raw();
        if order.reduce_only && order.parent.is_none() && held.signum() != -order.side.sign() {
            return Some(RejectReason::NothingToReduce);
        }
        if order.post_only {
            let OrderKind::Limit { price } = order.kind else {
                return Some(RejectReason::Unsupported(format!("a post-only {} order", order.kind.name())));
            };
            let book = &self.state.books[order.instrument.index()];
            let (bid, ask) = book.touch.or(book.last.map(|last| (last, last)))?;
            let takes = match order.side {
                Side::Buy => price >= ask,
                Side::Sell => price <= bid,
            };
            return takes.then_some(RejectReason::PostOnlyWouldTake);
        }
        None
    }

    /// Ends orders whose time ran out before the event.
    fn expire(
        &mut self,
        now: Timestamp,
        instrument: InstrumentId,
        event: &MarketEvent,
        out: &mut Outbox<OrderEvent>,
    ) -> Result<(), Fault> {
        // A bar matches at its open first: what runs out inside the bar is taken out before all of it, on the safe side.
        let until = event.ts_event();
        loop {
            let book = &self.state.books[instrument.index()];
            let Some(&(expiry, id)) = book.expiries.first().filter(|(expiry, _)| *expiry <= until) else {
                return Ok(());
            };
            self.close(id, expiry, now, OrderEventKind::Expired, out)?;
        }
    }

    fn on_session(
        &mut self,
        now: Timestamp,
        instrument: InstrumentId,
        phase: SessionPhase,
        out: &mut Outbox<OrderEvent>,
    ) -> Result<(), Fault> {
        if self.state.orders.is_empty() {
            return Ok(());
        }
        match phase {
            SessionPhase::Open => {
                let book = &mut self.state.books[instrument.index()];
                let waiting = std::mem::take(&mut book.on_open);
                book.at_open.extend(waiting.into_iter().map(|id| (id, now)));
                Ok(())
            }
            SessionPhase::Close => {
                self.match_close(now, instrument, out)?;
                let book = &mut self.state.books[instrument.index()];
                let day = std::mem::take(&mut book.day);
                for id in day {
                    if self.state.orders.contains_key(&id) {
                        self.close(id, now, now, OrderEventKind::Expired, out)?;
                    }
                }
                Ok(())
            }
        }
    }

    /// A split or dividend: the venue's books follow, and orders at old prices are cancelled, as brokers do.
    fn on_action(
        &mut self,
        now: Timestamp,
        action: &tradeflow_model::CorporateAction,
        out: &mut Outbox<OrderEvent>,
    ) -> Result<(), Fault> {
        use tradeflow_model::market::ActionKind;
        match action.kind {
            ActionKind::Dividend { amount } => {
                self.state.ledger.book_dividend(action.instrument, amount)?;
            }
            ActionKind::Split { new, old } => {
                self.state.ledger.book_split(action.instrument, new, old)?;
                let stale: Vec<OrderId> = self
                    .state
                    .orders
                    .values()
                    .filter(|o| o.instrument == action.instrument && !matches!(o.kind, OrderKind::Market))
                    .map(|o| o.id)
                    .collect();
                for id in stale {
                    if self.state.orders.contains_key(&id) {
                        self.close(id, now, now, OrderEventKind::Cancelled(EndReason::Contingent), out)?;
                    }
                }
                let book = &mut self.state.books[action.instrument.index()];
                book.last = Some(self.state.ledger.position(action.instrument).mark);
                book.touch = None;
            }
        }
        Ok(())
    }

    /// Applies an event to the venue's copy of an order, and reports it where the router does not know it already.
    fn report(
        &mut self,
        id: OrderId,
        ts_event: Timestamp,
        now: Timestamp,
        kind: OrderEventKind,
        out: Option<&mut Outbox<OrderEvent>>,
    ) -> Result<(), Fault> {
        let event = OrderEvent { order: id, ts_event, ts_init: now, kind };
        let order = self.state.orders.get_mut(&id).ok_or_else(|| Fault::new(format!("no order {id}")))?;
        order.apply(&event)?;
        match out {
            Some(out) => out.push(event),
            None => Ok(()),
        }
    }

    /// Ends an order with a report, takes it out of the book, and settles what hung on it.
    fn close(
        &mut self,
        id: OrderId,
        ts_event: Timestamp,
        now: Timestamp,
        kind: OrderEventKind,
        out: &mut Outbox<OrderEvent>,
    ) -> Result<(), Fault> {
        self.report(id, ts_event, now, kind, Some(out))?;
        self.retire(id, ts_event, now, out)
    }

    /// Takes an order that has ended out of the book, and settles what hung on it.
    fn retire(
        &mut self,
        id: OrderId,
        ts_event: Timestamp,
        now: Timestamp,
        out: &mut Outbox<OrderEvent>,
    ) -> Result<(), Fault> {
        let Some(order) = self.state.orders.remove(&id) else { return Ok(()) };
        debug_assert!(order.is_closed());
        self.state.books[order.instrument.index()].remove(&order);
        self.settle_bracket(&order, ts_event, now, out)
    }
}

/// Halfway between bid and ask, towards the bid.
fn mid(bid: Price, ask: Price) -> Price {
    Price::from_raw(bid.raw() + (ask.raw() - bid.raw()) / 2)
}

impl Actor for SimVenue {
    type Input<'a> = VenueInput<'a>;
    type Output = OrderEvent;

    fn handle(
        &mut self,
        now: Timestamp,
        input: VenueInput<'_>,
        out: &mut Outbox<OrderEvent>,
    ) -> Result<(), Fault> {
        match input {
            VenueInput::Market(event) => self.on_market(now, event, out),
            VenueInput::Command(command) => self.on_command(now, command, out),
        }
    }

    fn snapshot(&self) -> Result<Vec<u8>, Fault> {
        Ok(seal(&self.fingerprint, &postcard::to_allocvec(&self.state)?))
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), Fault> {
        let mut state: State = postcard::from_bytes(unseal(&self.fingerprint, snapshot)?)?;
        state.ledger.attach(self.state.ledger.instruments());
        self.state = state;
        Ok(())
    }
}

/// Whether an order can still trade.
fn is_working(status: OrderStatus) -> bool {
    matches!(status, OrderStatus::Accepted | OrderStatus::Triggered | OrderStatus::PartiallyFilled)
}
