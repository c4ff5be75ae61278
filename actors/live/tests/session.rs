//! A session from start to verification, on a bus in memory.

mod kit;

use std::ops::ControlFlow;
use std::sync::Arc;

use kit::*;
use tradeflow_bus::{Bus, Durability, Topics};
use tradeflow_live::LiveError;
use tradeflow_live::commands::{WireCommand, WireOrder};
use tradeflow_live::node::{NodeConfig, sessions};
use tradeflow_live::outputs::{FillMessage, Reply};
use tradeflow_live::verify::{verify, verify_watched};
use tradeflow_model::Side;

/// All fills on the bus, decoded.
fn fills(bus: &tradeflow_bus::MemoryBus) -> Vec<FillMessage> {
    let topics = Topics::new("");
    let mut fills = Vec::new();
    let bus: Arc<dyn Bus> = Arc::new(bus.clone());
    for partition in 0..PARTITIONS {
        let place = tradeflow_bus::Position { topic: topics.fills.clone(), partition, offset: 0 };
        tradeflow_live::journal::records::<tradeflow_bus::BusError>(&bus, place, |stored| {
            fills.push(tradeflow_bus::record::decode("fills", stored.value.as_deref().unwrap()).unwrap());
            Ok(())
        })
        .unwrap();
    }
    fills
}

fn replies(bus: &tradeflow_bus::MemoryBus) -> Vec<Reply> {
    let topics = Topics::new("");
    let mut replies = Vec::new();
    let bus: Arc<dyn Bus> = Arc::new(bus.clone());
    for partition in 0..PARTITIONS {
        let place = tradeflow_bus::Position { topic: topics.replies.clone(), partition, offset: 0 };
        tradeflow_live::journal::records::<tradeflow_bus::BusError>(&bus, place, |stored| {
            replies.push(tradeflow_bus::record::decode("replies", stored.value.as_deref().unwrap()).unwrap());
            Ok(())
        })
        .unwrap();
    }
    replies
}

#[test]
fn a_session_trades_on_paper_and_verifies() {
    let (bus, clock) = (bus(), Arc::new(HandClock::default()));
    let plan = plan(&["BTCUSD", "ETHUSD"], 4);
    let node = node(&bus, &plan, &clock, NodeConfig { arbiters: 2, ..NodeConfig::default() });
    until("the node is ready", || node.is_ready());
    let mut walks = [Walk::new("BTCUSD", 1), Walk::new("ETHUSD", 2)];
    for _ in 0..300 {
        for walk in &mut walks {
            let (records, now) = walk.minute();
            clock.set(now);
            bus.publish(records, Durability::Process).wait().unwrap();
        }
    }
    // Two accounts follow each instrument.
    let expected = 4 * 300 * (Walk::TRADES as u64 + 1);
    until("all is taken", || events(&node) == expected);
    node.stop().unwrap();

    let sources = sources(&bus);
    let known = sessions(&bus, &sources.topics).unwrap();
    assert_eq!(known.len(), 1);
    let verified = verify(&sources, &known[0]).unwrap();
    assert!(verified.equal, "{verified:#?}");
    assert!(verified.closed);
    assert!(verified.fills > 40, "{verified:#?}");
    assert_eq!(verified.fills, fills(&bus).len() as u64);
    assert!(verified.digest_live.is_some());
    // Whoever watches is told how far it is, and may stop it.
    let mut told = Vec::new();
    let watched = verify_watched(&sources, &known[0], |done| {
        told.push(done);
        ControlFlow::Continue(())
    });
    assert_eq!(watched.unwrap().digest_replay, verified.digest_replay);
    assert!(told.is_sorted() && told.len() > 10 && told.iter().all(|done| *done <= 1000), "{told:?}");
    assert!(told.last() > Some(&900), "{told:?}");
    let mut left = 3;
    let stopped = verify_watched(&sources, &known[0], |_| {
        left -= 1;
        if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(matches!(stopped, Err(LiveError::Stopped)) && left == 0, "{stopped:?}");
    // The same market and the same strategy: two accounts of one instrument decide alike.
    assert_eq!(verified.accounts[0].equity, verified.accounts[2].equity);
    assert_ne!(verified.accounts[0].equity, verified.accounts[1].equity);
}

#[test]
fn commands_are_answered_and_replayed() {
    let (bus, clock) = (bus(), Arc::new(HandClock::default()));
    let plan = plan(&["BTCUSD"], 1);
    let node = node(&bus, &plan, &clock, NodeConfig::default());
    until("the node is ready", || node.is_ready());
    let mut walk = Walk::new("BTCUSD", 7);
    let mut taken = 0;
    let mut pass = |node: &tradeflow_live::Node| {
        let (records, now) = walk.minute();
        clock.set(now);
        bus.publish(records, Durability::Process).wait().unwrap();
        taken += Walk::TRADES as u64 + 1;
        until("the minute is taken", || events(node) == taken);
    };
    let order = |qty: &str, price: Option<&str>| {
        WireCommand::Submit(WireOrder {
            symbol: "BTCUSD".into(),
            side: Side::Buy,
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
        })
    };
    pass(&node);
    let tell = |id: &str, command: WireCommand| {
        let before = replies(&bus).len();
        node.command("paper-0", id, command).unwrap();
        until("there is an answer", || replies(&bus).len() > before);
        serde_json::to_value(&replies(&bus).last().unwrap().answer).unwrap()
    };
    let refused = |answer: &serde_json::Value| answer["refused"]["code"].as_str().map(str::to_owned);
    let answer = tell("stop", WireCommand::Stop { id: "sma".into(), close: false });
    assert!(answer["done"].is_object(), "{answer}");
    let answer = tell("stop-again", WireCommand::Stop { id: "sma".into(), close: false });
    assert_eq!(refused(&answer).as_deref(), Some("unknown-strategy"));
    let answer = tell("buy", order("0.5", None));
    let id = answer["done"]["orders"][0].as_u64().unwrap_or_else(|| panic!("{answer}"));
    pass(&node);
    let bought = fills(&bus);
    // A tenth of each trade's volume, so it takes several.
    assert!(bought.len() > 2 && bought.iter().all(|fill| fill.order_id == id), "{bought:?}");
    assert_eq!(bought.last().unwrap().position, "0.500000");
    assert_eq!(refused(&tell("buy", order("1", None))).as_deref(), Some("duplicate"));
    assert_eq!(refused(&tell("odd", order("0.1234567", None))).as_deref(), Some("invalid"));
    let resting = tell("rest", order("0.1", Some("1.00")));
    let resting = resting["done"]["orders"][0].as_u64().unwrap();
    assert_eq!(
        refused(&tell("none", WireCommand::Cancel { order_id: resting + 1 })).as_deref(),
        Some("unknown-order")
    );
    assert!(tell("cancel", WireCommand::Cancel { order_id: resting })["done"].is_object());
    assert!(tell("pause", WireCommand::Pause)["done"].is_object());
    assert_eq!(refused(&tell("buy-2", order("0.1", None))).as_deref(), Some("denied"));
    assert!(tell("resume", WireCommand::Resume)["done"].is_object());
    let killed = tell("kill", WireCommand::Kill);
    assert_eq!(killed["done"]["orders"].as_array().unwrap().len(), 1, "{killed}");
    pass(&node);
    assert_eq!(fills(&bus).last().unwrap().position, "0.000000");
    assert_eq!(
        refused(&tell("close", WireCommand::Close { symbol: "BTCUSD".into() })).as_deref(),
        Some("no-position")
    );
    let started = tell("start", WireCommand::Start(wire_sma("BTCUSD", 2, 4)));
    assert!(started["done"].is_object(), "{started}");
    let wrong = tell("start-wrong", WireCommand::Start(wire_sma("BTCUSD", 9, 4)));
    assert_eq!(refused(&wrong).as_deref(), Some("invalid"), "{wrong}");
    pass(&node);
    node.stop().unwrap();
    let sources = sources(&bus);
    let known = sessions(&bus, &sources.topics).unwrap();
    let verified = verify(&sources, &known[0]).unwrap();
    assert!(verified.equal && verified.fills > 5, "{verified:#?}");
}

#[test]
fn the_next_session_goes_on_with_the_account() {
    let (bus, clock) = (bus(), Arc::new(HandClock::default()));
    let plan = plan(&["BTCUSD"], 1);
    let mut walk = Walk::new("BTCUSD", 3);
    for _ in 0..2 {
        let node = node(&bus, &plan, &clock, NodeConfig::default());
        until("the node is ready", || node.is_ready());
        for _ in 0..100 {
            let (records, now) = walk.minute();
            clock.set(now);
            bus.publish(records, Durability::Process).wait().unwrap();
        }
        until("all is taken", || events(&node) == 100 * (Walk::TRADES as u64 + 1));
        node.stop().unwrap();
    }
    let sources = sources(&bus);
    let known = sessions(&bus, &sources.topics).unwrap();
    assert_eq!(known.len(), 2);
    for session in &known {
        let verified = verify(&sources, session).unwrap();
        assert!(verified.equal && verified.fills > 0, "{verified:#?}");
    }
    // Numbers and order ids run on: nothing is there twice.
    let all = fills(&bus);
    assert!(all.windows(2).all(|pair| pair[0].seq < pair[1].seq && pair[0].order_id <= pair[1].order_id));
    assert!(all.iter().any(|fill| fill.session == known[1].id));
}

#[test]
fn what_was_changed_afterwards_is_found() {
    let (bus, clock) = (bus(), Arc::new(HandClock::default()));
    let plan = plan(&["BTCUSD"], 1);
    let node = node(&bus, &plan, &clock, NodeConfig::default());
    until("the node is ready", || node.is_ready());
    let mut walk = Walk::new("BTCUSD", 5);
    for _ in 0..100 {
        let (records, now) = walk.minute();
        clock.set(now);
        bus.publish(records, Durability::Process).wait().unwrap();
    }
    until("all is taken", || events(&node) == 100 * (Walk::TRADES as u64 + 1));
    node.stop().unwrap();
    let sources = sources(&bus);
    let mut session = sessions(&bus, &sources.topics).unwrap().remove(0);
    assert!(verify(&sources, &session).unwrap().equal);
    // A fee that was never charged: the replay pays it, the live session did not.
    let mut plan: tradeflow_live::SessionPlan = serde_json::from_str(&session.plan).unwrap();
    plan.run.cells[0].venue.volume_share_max = None;
    session.plan = serde_json::to_string(&plan).unwrap();
    let error = verify(&sources, &session).unwrap_err().to_string();
    assert!(error.contains("other instruments, limits"), "{error}");
}
