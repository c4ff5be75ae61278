//! Accounts that are opened and closed while a session runs, other limits, and questions.

mod kit;

use std::sync::Arc;

use kit::*;
use tradeflow_actors::cell::Answer;
use tradeflow_bus::{Bus, Clock, Durability, MemoryBus, Position, Topics};
use tradeflow_live::commands::{WireCommand, WireOrder};
use tradeflow_live::node::{AccountError, Node, NodeConfig, open_session, sessions};
use tradeflow_live::outputs::{Reply, Told};
use tradeflow_live::verify::verify;
use tradeflow_live::{AccountPlan, SessionPlan};
use tradeflow_model::plan::{CellPlan, RiskLimits};
use tradeflow_model::{AccountId, InstrumentId, Side};

/// A market and a node over it.
struct Stage {
    bus: MemoryBus,
    clock: Arc<HandClock>,
    walk: Walk,
}

impl Stage {
    fn new(seed: u64) -> Self {
        Self { bus: bus(), clock: Arc::default(), walk: Walk::new("BTCUSD", seed) }
    }

    fn node(&self, plan: &SessionPlan) -> Node {
        let node = node(&self.bus, plan, &self.clock, NodeConfig::default());
        until("the node is ready", || node.is_ready());
        node
    }

    /// A minute of the market, taken by all cells.
    fn minute(&mut self, node: &Node) {
        let before: Vec<_> = node.cells().iter().map(|cell| cell.events()).collect();
        let (records, now) = self.walk.minute();
        self.clock.set(now);
        self.bus.publish(records, Durability::Process).wait().unwrap();
        until("the minute is taken", || {
            let cells = node.cells();
            let taken = |(cell, before): (&Arc<tradeflow_live::node::CellStatus>, &u64)| {
                cell.events() == before + Walk::TRADES as u64 + 1
            };
            cells.len() == before.len() && cells.iter().zip(&before).all(taken)
        });
    }

    fn reply(&self, id: &str) -> Option<Reply> {
        let bus: Arc<dyn Bus> = Arc::new(self.bus.clone());
        let mut found = None;
        for partition in 0..PARTITIONS {
            let place = Position { topic: Topics::new("").replies.clone(), partition, offset: 0 };
            tradeflow_live::journal::records::<tradeflow_bus::BusError>(&bus, place, |stored| {
                let reply: Reply =
                    tradeflow_bus::record::decode("replies", stored.value.as_deref().unwrap()).unwrap();
                if reply.id == id {
                    found = Some(reply);
                }
                Ok(())
            })
            .unwrap();
        }
        found
    }

    fn tell(&self, node: &Node, account: &str, id: &str, command: WireCommand) -> Reply {
        node.command(account, id, command).unwrap();
        until("there is an answer", || self.reply(id).is_some());
        self.reply(id).unwrap()
    }

    fn verified(&self, session: usize) -> tradeflow_live::verify::Verified {
        let sources = sources(&self.bus);
        let known = sessions(&self.bus, &sources.topics).unwrap();
        verify(&sources, &known[session]).unwrap()
    }
}

/// What was told of an order.
trait Previewed {
    fn previewed(self) -> tradeflow_live::outputs::PreviewRecord;
}

impl Previewed for Reply {
    fn previewed(self) -> tradeflow_live::outputs::PreviewRecord {
        match self.told.map(|told| *told) {
            Some(Told::Preview(record)) => record,
            other => panic!("{other:?}"),
        }
    }
}

fn order(side: Side, qty: &str, price: Option<&str>) -> WireOrder {
    WireOrder {
        symbol: "BTCUSD".into(),
        side,
        qty: qty.parse().unwrap(),
        price: price.map(|price| price.parse().unwrap()),
        trigger: None,
        trail_price: None,
        trail_bps: None,
        time_in_force: None,
        execution: None,
        reduce_only: false,
        post_only: false,
        stop_loss: None,
        take_profit: None,
    }
}

fn named(plan: &SessionPlan, account: &str) -> CellPlan {
    let mut cell = plan.run.cells[0].clone();
    cell.account.id = AccountId::new(account).unwrap();
    cell
}

fn refusal(reply: &Reply) -> Option<String> {
    match &reply.answer {
        Answer::Done { .. } => None,
        Answer::Refused { code, why } => Some(format!("{code:?}: {why}")),
    }
}

#[test]
fn an_account_that_is_opened_trades_at_once_and_goes_on_in_the_next_session() {
    let mut stage = Stage::new(11);
    let plan = plan(&["BTCUSD"], 1);
    let node = stage.node(&plan);
    stage.minute(&node);
    for account in ["new-a", "new-b"] {
        node.open_account(&named(&plan, account), &[InstrumentId(0)]).unwrap();
        // Told before its cell is up.
        node.command(account, &format!("{account}-buy"), WireCommand::Submit(order(Side::Buy, "0.1", None)))
            .unwrap();
    }
    assert!(node.plan().open_cell_of("new-b").is_some());
    until("they have answered", || stage.reply("new-a-buy").and(stage.reply("new-b-buy")).is_some());
    assert_eq!(refusal(&stage.reply("new-a-buy").unwrap()), None);
    until("they are shown", || node.view().cells.len() == 3);
    stage.minute(&node);
    let taken = node.open_account(&named(&plan, "new-a"), &[InstrumentId(0)]).unwrap_err();
    assert!(matches!(taken, AccountError::Taken(_)), "{taken}");
    let configured = node.close_account("paper-0").unwrap_err();
    assert!(matches!(configured, AccountError::Configured(_)), "{configured}");
    node.close_account("new-b").unwrap();
    until("its cell is closed", || node.view().cells.len() == 2);
    assert!(matches!(node.close_account("new-b").unwrap_err(), AccountError::Unknown(_)));
    assert!(matches!(
        node.open_account(&named(&plan, "new-b"), &[InstrumentId(0)]).unwrap_err(),
        AccountError::Taken(_)
    ));
    stage.minute(&node);
    node.stop().unwrap();
    let first = stage.verified(0);
    assert!(first.equal && first.closed, "{first:#?}");
    let fills: Vec<_> = first.accounts.iter().map(|a| (a.account.as_str(), a.fills > 0)).collect();
    assert_eq!(fills, [("paper-0", false), ("new-a", true), ("new-b", true)]);

    // The configuration knows nothing of them; one account more in it is a new one.
    let node = stage.node(&kit::plan(&["BTCUSD"], 2));
    let mut names: Vec<_> = node.view().cells.into_iter().map(|cell| cell.account).collect();
    names.sort();
    assert_eq!(names, ["new-a", "paper-0", "paper-1"]);
    stage.minute(&node);
    let sold = stage.tell(&node, "new-a", "sell", WireCommand::Close { symbol: "BTCUSD".into() });
    assert_eq!(refusal(&sold), None);
    stage.minute(&node);
    node.stop().unwrap();
    let second = stage.verified(1);
    assert!(second.equal, "{second:#?}");
    assert_eq!(second.accounts.len(), 3, "{second:#?}");
    assert!(second.accounts.iter().any(|account| account.account == "new-a" && account.fills > 0));
}

#[test]
fn a_session_that_was_left_open_goes_on_with_what_was_opened_in_it() {
    let mut stage = Stage::new(12);
    let plan = plan(&["BTCUSD"], 1);
    let opened = open_session(&sources(&stage.bus), &plan, start()).unwrap();
    let clock: Arc<dyn tradeflow_bus::Clock> = stage.clock.clone();
    let killed = Node::start(sources(&stage.bus), clock, opened, NodeConfig::default()).unwrap();
    until("the node is ready", || killed.is_ready());
    killed.open_account(&named(&plan, "late"), &[InstrumentId(0)]).unwrap();
    until("it is up", || killed.view().cells.len() == 2);
    stage.minute(&killed);
    // As after a kill: nothing is closed, and the next one takes the partitions.
    std::mem::forget(killed);
    let node = stage.node(&kit::plan(&["BTCUSD"], 3));
    until("all are up", || node.view().cells.len() == 4);
    stage.minute(&node);
    node.stop().unwrap();
    let verified = stage.verified(0);
    assert!(verified.equal && verified.accounts.len() == 4, "{verified:#?}");
    let known = sessions(&stage.bus, &Topics::new("")).unwrap();
    assert_eq!(known.len(), 1);
    // Something of an account that is there was changed.
    let mut other = kit::plan(&["BTCUSD"], 3);
    other.run.cells[1].risk.open_orders_max = Some(1);
    let error = open_session(&sources(&stage.bus), &other, start()).unwrap_err().to_string();
    assert!(error.contains("account paper-1"), "{error}");
    let mut other = kit::plan(&["BTCUSD"], 3);
    other.accounts[0] = AccountPlan::default();
    let error = open_session(&sources(&stage.bus), &other, start()).unwrap_err().to_string();
    assert!(error.contains("account paper-0"), "{error}");
}

#[test]
fn limits_hold_from_the_next_order_on_and_over_sessions() {
    let mut stage = Stage::new(13);
    let plan = plan(&["BTCUSD"], 1);
    let node = stage.node(&plan);
    stage.minute(&node);
    let resting = |id| WireCommand::Submit(WireOrder { ..order(Side::Buy, id, Some("10.00")) });
    assert_eq!(refusal(&stage.tell(&node, "paper-0", "one", resting("0.1"))), None);
    assert_eq!(refusal(&stage.tell(&node, "paper-0", "two", resting("0.2"))), None);
    let limits = RiskLimits { open_orders_max: Some(2), ..RiskLimits::default() };
    assert_eq!(refusal(&stage.tell(&node, "paper-0", "limit", WireCommand::Limit(limits))), None);
    let denied = refusal(&stage.tell(&node, "paper-0", "three", resting("0.3"))).unwrap();
    assert!(denied.contains("Denied") && denied.contains("open_orders"), "{denied}");
    stage.minute(&node);
    node.stop().unwrap();
    assert!(stage.verified(0).equal);

    let node = stage.node(&plan);
    until("its limits are shown", || node.view().cells.first().is_some_and(|cell| cell.limits == limits));
    let denied = refusal(&stage.tell(&node, "paper-0", "four", resting("0.3"))).unwrap();
    assert!(denied.contains("open_orders"), "{denied}");
    let fine = "0.0000000000000000001".parse().unwrap();
    let wrong = RiskLimits { order_notional_max: Some(fine), ..RiskLimits::default() };
    let refused = refusal(&stage.tell(&node, "paper-0", "fine", WireCommand::Limit(wrong))).unwrap();
    assert!(refused.starts_with("Invalid") && refused.contains("order_notional_max"), "{refused}");
    let none = WireCommand::Limit(RiskLimits::default());
    assert_eq!(refusal(&stage.tell(&node, "paper-0", "open", none)), None);
    assert_eq!(refusal(&stage.tell(&node, "paper-0", "five", resting("0.3"))), None);
    stage.minute(&node);
    node.stop().unwrap();
    assert!(stage.verified(1).equal);
}

#[test]
fn a_preview_says_what_the_order_then_costs_and_leaves_no_trace() {
    let mut stage = Stage::new(14);
    let mut plan = plan(&["BTCUSD"], 1);
    plan.accounts[0].strategies.clear();
    plan.run.cells[0].venue.volume_share_max = None;
    let fees = tradeflow_model::FeeSchedule { taker_bps: 10.into(), ..Default::default() };
    plan.run.cells[0].venue.fees = Some(fees);
    let node = stage.node(&plan);
    let ask = |node: &Node, stage: &Stage, id: &str, order: WireOrder| {
        stage.tell(node, "paper-0", id, WireCommand::Preview(order))
    };
    let early = ask(&node, &stage, "early", order(Side::Buy, "0.1", None)).previewed();
    assert_eq!((early.price, early.fee, early.denied), (None, None, None));
    stage.minute(&node);
    let before = node.view().cells.remove(0);
    let asked = ask(&node, &stage, "ask", order(Side::Buy, "2", None)).previewed();
    assert_eq!(asked.denied, None);
    assert_eq!(asked.payable_qty.as_deref(), Some("2.000000"));
    let price: rust_decimal::Decimal = asked.price.unwrap().parse().unwrap();
    let value: rust_decimal::Decimal = asked.value.unwrap().parse().unwrap();
    assert_eq!(value, price * rust_decimal::Decimal::TWO);
    let fee: rust_decimal::Decimal = asked.fee.unwrap().parse().unwrap();
    assert_eq!(fee, value / rust_decimal::Decimal::ONE_THOUSAND);
    assert_eq!(asked.exposure_after.unwrap().parse::<rust_decimal::Decimal>().unwrap(), value);
    // More than there is money for; too fine; of another market.
    let much = ask(&node, &stage, "much", order(Side::Buy, "1000", None)).previewed();
    let payable: rust_decimal::Decimal = much.payable_qty.unwrap().parse().unwrap();
    assert!(payable > 0.into() && payable * price < 1_000_000.into(), "{payable} at {price}");
    assert!(refusal(&ask(&node, &stage, "fine", order(Side::Buy, "0.1234567", None))).is_some());
    let other = WireOrder { symbol: "ETHUSD".into(), ..order(Side::Buy, "1", None) };
    assert!(refusal(&ask(&node, &stage, "other", other)).unwrap().starts_with("UnknownInstrument"));
    let limits = RiskLimits { order_notional_max: Some(1000.into()), ..RiskLimits::default() };
    stage.tell(&node, "paper-0", "limit", WireCommand::Limit(limits));
    let denied = ask(&node, &stage, "denied", order(Side::Buy, "2", None)).previewed();
    assert!(denied.denied.unwrap().contains("order_notional_max"));
    stage.minute(&node);
    let after = node.view().cells.remove(0);
    assert_eq!((after.orders, after.fills, &after.cash), (before.orders, 0, &before.cash));
    node.stop().unwrap();
    let verified = stage.verified(0);
    assert!(verified.equal && verified.orders == 0, "{verified:#?}");
}

#[test]
fn a_dry_run_decides_as_the_strategy_did_and_trades_nothing() {
    let mut stage = Stage::new(15);
    let plan = plan(&["BTCUSD"], 1);
    let node = stage.node(&plan);
    for _ in 0..60 {
        stage.minute(&node);
    }
    let shown = |node: &Node| node.view().cells.remove(0);
    until("all is shown", || shown(&node).events == 60 * (Walk::TRADES as u64 + 1));
    let before = shown(&node);
    assert!(before.fills > 0);
    let asked = stage.tell(&node, "paper-0", "dry", WireCommand::DryRun(wire_sma("BTCUSD", 3, 8)));
    let Some(Told::DryRun(run)) = asked.told.map(|told| *told) else { panic!("no dry run") };
    assert_eq!((run.events, run.to), (60, Some(stage.clock.now().as_nanos())));
    // The account's own strategy is the same one, and saw the same bars: what it wanted last is what it holds.
    let last = run.decisions.last().unwrap();
    let held = before.positions.iter().any(|position| position.qty != "0.000000");
    assert_eq!(last.wants == "buy", held, "{last:?} {before:?}");
    let wrong = stage.tell(&node, "paper-0", "wrong", WireCommand::DryRun(wire_sma("BTCUSD", 9, 3)));
    assert!(refusal(&wrong).unwrap().starts_with("Invalid"));
    let after = node.view().cells.remove(0);
    assert_eq!((after.orders, after.fills, after.strategies.len()), (before.orders, before.fills, 1));
    node.stop().unwrap();
    assert!(stage.verified(0).equal);
}
