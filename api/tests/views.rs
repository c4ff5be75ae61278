//! Two nodes on one bus tell each other what they show, also after the bus has refused it.

mod kit;

use std::sync::Arc;
use std::time::{Duration, Instant};

use kit::FakeNode;
use rust_decimal::Decimal;
use tradeflow_api::{Heard, NodeSource, Views};
use tradeflow_bus::{Bus, BusError, Durability, MemoryBus, Retention, Topics};
use tradeflow_live::SessionPlan;
use tradeflow_live::node::NodeView;
use tradeflow_model::instrument::AssetClass;
use tradeflow_model::plan::{CellPlan, RunPlan, VenueSpec};
use tradeflow_model::{AccountId, AccountKind, AccountSpec, Currency, Instrument, Symbol};

/// The node of the kit in a session with its two accounts and instruments.
fn node() -> FakeNode {
    let mut node = kit::node();
    let currency = |name: &str| Currency::new(name).unwrap();
    let coin = |name: &str| {
        let (symbol, base) = (Symbol::new(name).unwrap(), currency(&name[..3]));
        Instrument::new(symbol, AssetClass::CryptoSpot, base, currency("USD"), 2, 5).unwrap()
    };
    let cell = |name| CellPlan {
        account: AccountSpec {
            id: AccountId::new(name).unwrap(),
            kind: AccountKind::Cash,
            currency: currency("USD"),
            balance: Decimal::from(1000),
        },
        strategies: Vec::new(),
        risk: Default::default(),
        venue: VenueSpec::default(),
        equity_interval_ns: 60_000_000_000,
        containment: None,
    };
    let run = RunPlan {
        instruments: vec![coin("BTCUSD"), coin("ETHUSD")],
        cells: vec![cell("alpha"), cell("beta")],
        ..node.plan.run.clone()
    };
    let accounts = vec![Default::default(); 2];
    node.plan = Arc::new(SessionPlan::new(run, accounts, Durability::Process, node.now));
    node.heard = Some(Arc::default());
    node
}

fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "not within 20 s: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn two_nodes_show_the_same_also_after_the_bus_was_away() {
    let (bus, topics) = (MemoryBus::new(), Topics::new(""));
    bus.create(&topics.specs(1, Retention::default())).unwrap();
    let (a, b) = (Arc::new(node()), Arc::new(node()));
    // Of the two, one has both cells and the quotes.
    *b.view.lock().unwrap() = NodeView::default();
    b.board.retain(|_| false);
    let start = |node: &Arc<FakeNode>| {
        let heard: Arc<Heard> = node.heard.clone().unwrap();
        let bus: Arc<dyn Bus> = Arc::new(bus.clone());
        Views::start(bus, &topics, node.clone(), heard).unwrap()
    };
    let unavailable = || BusError::Unavailable { brokers: "nowhere".into(), reason: "away".into() };
    (0..3).for_each(|_| bus.fail_next(unavailable()));
    let _running = (start(&a), start(&b));
    eventually("all is shown", || b.shown_cells().len() == 2 && b.shown_quotes().len() == 2);
    assert_eq!(b.shown_quotes(), a.shown_quotes());
    for account in ["alpha", "beta"] {
        assert_eq!(b.shown_cell(account), a.shown_cell(account));
    }
    let worth = |node: &FakeNode| node.shown_cell("alpha").map(|shown| shown.view.equity);
    bus.fail_next(unavailable());
    a.view.lock().unwrap().cells[1].equity = "7".into();
    eventually("what the bus refused is told anew", || worth(&b).as_deref() == Some("7"));
    // What runs here is shown as it is here, whatever the other says of it; and the other hears that.
    let here = a.view.lock().unwrap().cells[1].clone();
    b.view.lock().unwrap().cells.push(tradeflow_live::node::CellView { equity: "8".into(), seq: 1, ..here });
    a.view.lock().unwrap().cells.pop();
    assert_eq!(worth(&b).as_deref(), Some("8"));
    eventually("the other shows it", || worth(&a).as_deref() == Some("8"));
    assert_eq!(worth(&b).as_deref(), Some("8"));
}
