//! A node that dies at any instant, again and again, ends where an uninterrupted one does.
//!
//! What a disk would hold is a copy of the bus in memory at that instant; the next node begins with the copy. (The same
//! with a real process and `kill -9` is in the tests of the whole program.)

mod kit;

use std::collections::BTreeSet;
use std::sync::Arc;

use kit::*;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use tradeflow_bus::{Bus, BusError, Durability, MemoryBus, Position, Topic, Topics};
use tradeflow_live::node::{NodeConfig, sessions};
use tradeflow_live::verify::{Verified, verify};

const MINUTES: usize = 250;
const ACCOUNTS: usize = 3;

fn config() -> NodeConfig {
    NodeConfig { snapshot_events: 700, arbiters: 2, ..NodeConfig::default() }
}

/// The values of a topic by key, in order.
fn values(bus: &MemoryBus, topic: &Topic) -> Vec<(Vec<u8>, Vec<u8>)> {
    let bus: Arc<dyn Bus> = Arc::new(bus.clone());
    let mut values = Vec::new();
    for partition in 0..PARTITIONS {
        let place = Position { topic: topic.clone(), partition, offset: 0 };
        tradeflow_live::journal::records::<BusError>(&bus, place, |stored| {
            values.push((stored.key.to_vec(), stored.value.as_deref().unwrap_or_default().to_vec()));
            Ok(())
        })
        .unwrap();
    }
    values.sort_by(|a, b| a.0.cmp(&b.0)); // stable: each account in its own order
    values
}

fn market() -> MemoryBus {
    let bus = bus();
    for (symbol, seed) in [("BTCUSD", 1), ("ETHUSD", 2)] {
        let mut walk = Walk::new(symbol, seed);
        for _ in 0..MINUTES {
            bus.publish(walk.minute().0, Durability::Process).wait().unwrap();
        }
    }
    bus
}

/// Opens the session before there is any market data for it, so that it begins with all of it.
fn opened() -> (MemoryBus, tradeflow_live::SessionPlan, Arc<HandClock>) {
    let (clock, empty) = (Arc::new(HandClock::default()), bus());
    let plan = plan(&["BTCUSD", "ETHUSD"], ACCOUNTS);
    let first = node(&empty, &plan, &clock, config());
    until("the node is ready", || first.is_ready());
    until("strategies run", || {
        first.view().cells.iter().all(|cell| cell.strategies.iter().any(|s| s.running))
    });
    let bus = empty.copy();
    drop(first.stop());
    let topics = Topics::new("");
    for topic in [&topics.trades, &topics.bars] {
        for partition in 0..PARTITIONS {
            let place = Position { topic: topic.clone(), partition, offset: 0 };
            let from: Arc<dyn Bus> = Arc::new(market());
            tradeflow_live::journal::records::<BusError>(&from, place, |stored| {
                let record = tradeflow_bus::NewRecord {
                    topic: topic.clone(),
                    partition,
                    key: stored.key.clone(),
                    value: stored.value.clone(),
                    ts: stored.ts,
                };
                bus.publish(vec![record], Durability::Process).wait().map(drop)
            })
            .unwrap();
        }
    }
    (bus, plan, clock)
}

/// The events that all accounts together take: two follow the first symbol, one the second.
fn total() -> u64 {
    (ACCOUNTS * MINUTES * (Walk::TRADES + 1)) as u64
}

fn done(node: &tradeflow_live::Node) -> bool {
    node.view().cells.iter().map(|cell| cell.events).sum::<u64>() == total()
}

fn finish(bus: &MemoryBus, node: tradeflow_live::Node) -> Verified {
    node.stop().unwrap();
    let sources = sources(bus);
    let known = sessions(bus, &sources.topics).unwrap();
    assert_eq!(known.len(), 1, "it is one session from first to last");
    verify(&sources, &known[0]).unwrap()
}

#[test]
fn a_node_that_dies_again_and_again_ends_where_an_uninterrupted_one_does() {
    let seed = std::env::var("TRADEFLOW_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_241_121);
    let kills = std::env::var("TRADEFLOW_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(12_u64);
    println!("TRADEFLOW_SEED={seed} TRADEFLOW_KILLS={kills}");
    let (bus, plan, clock) = opened();

    let whole = bus.copy();
    let uninterrupted = node(&whole, &plan, &clock, config());
    until("the uninterrupted node is through", || done(&uninterrupted));
    let expected = finish(&whole, uninterrupted);
    assert!(expected.equal && expected.fills > 30, "{expected:#?}");

    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut disk = bus.copy();
    for kill in 0..kills {
        let running = node(&disk, &plan, &clock, config());
        let at = events_before(kill, kills) + u64::from(random.next_u32() % 200);
        until("it got so far", || {
            let taken: u64 = running.view().cells.iter().map(|cell| cell.events).sum();
            taken >= at.min(total()) || done(&running)
        });
        let copy = disk.copy();
        drop(running.stop());
        disk = copy;
    }
    let last = node(&disk, &plan, &clock, config());
    until("the last node is through", || done(&last));
    let verified = finish(&disk, last);

    assert!(verified.equal, "{verified:#?}");
    let topics = Topics::new("");
    for topic in [&topics.orders, &topics.fills] {
        let (ours, theirs) = (values(&disk, topic), values(&whole, topic));
        assert!(ours == theirs, "{topic}: {} records, uninterrupted {}", ours.len(), theirs.len());
        assert_eq!(
            ours.iter().collect::<BTreeSet<_>>().len(),
            ours.len(),
            "{topic}: a record is there twice"
        );
    }
    for (ours, theirs) in verified.accounts.iter().zip(&expected.accounts) {
        assert_eq!((&ours.cash, &ours.equity, ours.fills), (&theirs.cash, &theirs.equity, theirs.fills));
    }
    assert_eq!(verified.digest_replay, expected.digest_replay);
}

/// Kills are spread over the session.
fn events_before(kill: u64, kills: u64) -> u64 {
    total() * kill / kills.max(1)
}
