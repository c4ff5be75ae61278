//! What can be seen of cells and node: counters that shells keep, and views for people and `/metrics`.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use tradeflow_actors::risk::TradingMode;
use tradeflow_model::OrderEventKind;
use tradeflow_model::order::DenyReason;
use tradeflow_model::plan::RiskLimits;

use crate::host::{CellHost, Handled};

/// What can be seen of a cell.
#[derive(Debug)]
pub struct CellStatus {
    account: String,
    shown: Mutex<CellView>,
    latencies: Mutex<Latencies>,
    events: AtomicU64,
    fills: AtomicU64,
    refused: AtomicU64,
    snapshots: AtomicU64,
    mailbox: AtomicI64,
    denials: Mutex<BTreeMap<String, u64>>,
    halted: Mutex<Option<String>>,
    /// Another node has taken it over.
    gone: AtomicBool,
}

/// Latencies since they were last taken, in nanoseconds.
#[derive(Debug)]
struct Latencies {
    decision: Histogram<u64>,
    fill: Histogram<u64>,
    journal: Histogram<u64>,
    snapshot: Duration,
    recovery: Duration,
}

/// A cell, as people see it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)] // named as everywhere
pub struct CellView {
    pub account: String,
    /// Why it is halted; none while it works.
    pub halted: Option<String>,
    pub mode: TradingMode,
    /// The limits of its risk gate.
    #[serde(default)]
    pub limits: RiskLimits,
    pub currency: String,
    pub equity: String,
    pub cash: String,
    pub realized: String,
    pub unrealized: String,
    pub fees: String,
    pub open_orders: usize,
    pub positions: Vec<PositionView>,
    pub strategies: Vec<StrategyView>,
    /// Entries of its journal that it has handled.
    #[serde(default)]
    pub seq: u64,
    /// Market events taken.
    pub events: u64,
    pub orders: u64,
    pub fills: u64,
    pub denied: u64,
    pub rejected: u64,
    /// Rows that wait.
    pub pending: usize,
    /// The time of its last input, in nanoseconds.
    pub ts: i64,
    /// How long its recovery took, in milliseconds.
    pub recovery_ms: f64,
    /// How long its last snapshot took, in milliseconds.
    pub snapshot_ms: f64,
    pub snapshots: u64,
}

/// A position, as people see it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct PositionView {
    pub symbol: String,
    pub qty: String,
    pub mark: String,
    pub unrealized: String,
}

/// A strategy, as people see it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct StrategyView {
    pub id: String,
    pub kind: String,
    pub running: bool,
    pub failures: u32,
    /// Stopped for good after its failures, until a person starts it again.
    #[serde(default)]
    pub quarantined: bool,
}

/// A node, as people see it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct NodeView {
    pub session: String,
    pub ready: bool,
    pub cells: Vec<CellView>,
}

/// The node's reader of the bus.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct BusView {
    /// Records read.
    pub records: u64,
    /// How often a full mailbox made it wait.
    pub waits: u64,
    /// The age of the record that was handed to the cells last, in milliseconds; zero when there is nothing more to read.
    pub behind_ms: i64,
    /// Records that are on the bus and not handed to the cells yet, by topic.
    pub lag: BTreeMap<String, u64>,
}

/// Latencies in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Percentiles {
    pub count: u64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

impl Percentiles {
    /// Of a histogram of nanoseconds.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        Self {
            count: histogram.len(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: histogram.max() as f64 / 1e3,
        }
    }
}

/// Up to a minute, with two digits: a node has two for each cell, and they share the processor's cache with the cells.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, 60_000_000_000, 2).expect("bounds of a constant")
}

impl CellStatus {
    /// Of a cell that is brought up just now.
    pub fn new(account: &str) -> Self {
        let latencies = Latencies {
            decision: histogram(),
            fill: histogram(),
            journal: histogram(),
            snapshot: Duration::ZERO,
            recovery: Duration::ZERO,
        };
        Self {
            account: account.to_owned(),
            shown: Mutex::new(CellView { account: account.to_owned(), ..CellView::default() }),
            latencies: Mutex::new(latencies),
            events: AtomicU64::new(0),
            fills: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            snapshots: AtomicU64::new(0),
            mailbox: AtomicI64::new(0),
            denials: Mutex::default(),
            halted: Mutex::new(None),
            gone: AtomicBool::new(false),
        }
    }

    /// The account.
    pub fn account(&self) -> &str {
        &self.account
    }

    /// Market events taken since it was brought up.
    pub fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }

    /// Fills since it was brought up.
    pub fn fills(&self) -> u64 {
        self.fills.load(Ordering::Relaxed)
    }

    /// Why it is halted.
    pub fn halted(&self) -> Option<String> {
        self.halted.lock().ok().and_then(|why| why.clone())
    }

    /// From receipt of a tick until its cell had handled it and journaled what came of it, each tick counted once; and from receipt of
    /// the tick that filled an order until the fill was on the bus, each fill counted once. Of what was taken together
    /// the oldest counts for all. Since they were last taken.
    pub fn take_latencies(&self) -> (Histogram<u64>, Histogram<u64>) {
        let (decision, fill) = (histogram(), histogram());
        let Ok(mut kept) = self.latencies.lock() else { return (decision, fill) };
        (std::mem::replace(&mut kept.decision, decision), std::mem::replace(&mut kept.fill, fill))
    }

    /// How long writes to the journal took since they were last taken, in nanoseconds.
    pub fn take_journal_times(&self) -> Histogram<u64> {
        let journal = histogram();
        let Ok(mut kept) = self.latencies.lock() else { return journal };
        std::mem::replace(&mut kept.journal, journal)
    }

    /// Messages that wait in its mailbox.
    pub fn mailbox(&self) -> u64 {
        self.mailbox.load(Ordering::Relaxed).max(0) as u64
    }

    /// Orders denied since it was brought up, by the rule that denied them, `size-rounds-to-zero` or `invalid`.
    pub fn denials(&self) -> BTreeMap<String, u64> {
        self.denials.lock().map(|denials| denials.clone()).unwrap_or_default()
    }

    /// The cell, as people see it.
    pub fn view(&self) -> CellView {
        let mut view = self.shown.lock().map(|view| view.clone()).unwrap_or_default();
        view.halted = self.halted();
        view
    }

    /// A message is on its way to the mailbox.
    pub(crate) fn note_sent(&self) {
        self.mailbox.fetch_add(1, Ordering::Relaxed);
    }

    /// A message has left the mailbox, or did not get there.
    pub(crate) fn note_taken(&self) {
        self.mailbox.fetch_sub(1, Ordering::Relaxed);
    }

    /// A write to the journal took so long.
    pub fn note_journal(&self, took: Duration) {
        if let Ok(mut kept) = self.latencies.lock() {
            kept.journal.saturating_record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).max(1));
        }
    }

    /// From receipt of these ticks to the decision it took so long.
    pub fn note_decision(&self, nanos: i64, events: u64) {
        if let Ok(mut kept) = self.latencies.lock() {
            kept.decision.saturating_record_n(nanos.max(1) as u64, events);
        }
    }

    /// From receipt of a tick to fills on the bus it took so long.
    pub fn note_fills(&self, nanos: i64, fills: u64) {
        if let Ok(mut kept) = self.latencies.lock() {
            kept.fill.saturating_record_n(nanos.max(1) as u64, fills);
        }
    }

    pub(crate) fn note_handled(&self, handled: &Handled) {
        self.events.fetch_add(handled.events, Ordering::Relaxed);
        self.fills.fetch_add(handled.fills, Ordering::Relaxed);
        for (event, _) in &handled.output.events {
            if let OrderEventKind::Denied(reason) = &event.kind {
                self.note_denied(reason);
            }
        }
    }

    /// An order was denied.
    pub fn note_denied(&self, reason: &DenyReason) {
        let code = match reason {
            DenyReason::SizeRoundsToZero => "size-rounds-to-zero",
            DenyReason::Rule { rule, .. } => rule,
            DenyReason::Invalid(_) => "invalid",
        };
        let Ok(mut denials) = self.denials.lock() else { return };
        match denials.get_mut(code) {
            Some(count) => *count += 1,
            None => drop(denials.insert(code.to_owned(), 1)),
        }
    }

    pub(crate) fn note_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn note_snapshot(&self, took: Duration) {
        self.snapshots.fetch_add(1, Ordering::Relaxed);
        if let Ok(mut kept) = self.latencies.lock() {
            kept.snapshot = took;
        }
    }

    pub(crate) fn note_recovery(&self, took: Duration) {
        if let Ok(mut kept) = self.latencies.lock() {
            kept.recovery = took;
        }
    }

    pub(crate) fn halt(&self, why: &str) {
        if let Ok(mut halted) = self.halted.lock() {
            *halted = Some(why.to_owned());
        }
    }

    /// Another node has taken the cell over: what is known of it here is over.
    pub(crate) fn leave(&self) {
        self.gone.store(true, Ordering::Relaxed);
    }

    /// Whether another node has taken the cell over.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    /// The cell as it is now, for people.
    pub(crate) fn view_of(&self, host: &CellHost) -> CellView {
        let paper = host.cell().paper();
        let cell = paper.cell();
        let ledger = cell.account().ledger();
        let counters = paper.counters();
        let definitions = ledger.instruments();
        let positions = host.instruments().iter().filter_map(|id| {
            let (definition, position) = (&definitions[id.index()], ledger.position(*id));
            (!position.qty.is_zero()).then(|| PositionView {
                symbol: definition.symbol.to_string(),
                qty: definition.qty_text(position.qty),
                mark: definition.price_text(position.mark),
                unrealized: position.unrealized().to_string(),
            })
        });
        let containment = host.plan().run.cells[host.index()].containment.unwrap_or_default();
        let strategies = cell.strategies().map(|(plan, running, failures)| StrategyView {
            id: plan.id.clone(),
            kind: plan.kind.clone(),
            running,
            failures,
            quarantined: !running && failures >= containment.failures_max,
        });
        let millis = |duration: Duration| duration.as_secs_f64() * 1e3;
        let times = self.latencies.lock().map(|kept| (millis(kept.recovery), millis(kept.snapshot)));
        let (recovery_ms, snapshot_ms) = times.unwrap_or_default();
        CellView {
            account: self.account.clone(),
            halted: None,
            mode: cell.risk().mode(),
            limits: *cell.risk().limits(),
            currency: cell.account().spec().currency.to_string(),
            equity: ledger.equity().to_string(),
            cash: ledger.cash().to_string(),
            realized: ledger.realized().to_string(),
            unrealized: ledger.unrealized().to_string(),
            fees: ledger.fees().to_string(),
            open_orders: cell.orders().len(),
            positions: positions.collect(),
            strategies: strategies.collect(),
            seq: host.seq(),
            events: host.cell().events(),
            orders: counters.orders,
            fills: counters.fills,
            denied: counters.denied,
            rejected: counters.rejected,
            pending: host.pending_rows(),
            ts: paper.now().as_nanos(),
            recovery_ms,
            snapshot_ms,
            snapshots: self.snapshots.load(Ordering::Relaxed),
        }
    }

    /// Shows this from now on.
    pub(crate) fn show(&self, view: CellView) {
        if let Ok(mut shown) = self.shown.lock() {
            *shown = view;
        }
    }
}
