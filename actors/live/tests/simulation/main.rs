//! Deterministic simulation: a whole node, or two, on one thread in virtual time, with seeded faults of feed, bus, disk,
//! venue and clock.
//!
//! | file | holds |
//! |---|---|
//! | `main.rs` | the tests: many seeds; one seed twice |
//! | `dice.rs` | chance from a seed, and how often what goes wrong in it |
//! | `world/` | true time, two machines, what goes wrong (`trouble.rs`), what must hold all the time (`watch.rs`) |
//! | `disk.rs` | the bus: what survives, what was promised |
//! | `line.rs` | the bus as a process sees it |
//! | `feed.rs` | a market and its feed |
//! | `people.rs` | commands |
//! | `setting.rs` | instruments, accounts, strategies |
//! | `trader.rs` | a strategy that does anything, and panics |
//! | `check.rs` | what must hold at the end |
//!
//! Shells, hosts, reader, merge, journal, snapshots, recovery and `verify` are the real ones, through
//! [`tradeflow_live::node::SteppedNode`]. Not simulated: threads, group membership of Kafka.
//!
//! `TRADEFLOW_SEED=7` replays one seed, with what led to the failure; `TRADEFLOW_SEEDS=100000` takes so many (from
//! `TRADEFLOW_SEED` on, where both are given).

mod check;
mod dice;
mod disk;
mod feed;
mod line;
mod people;
mod setting;
mod trader;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::time::Instant;

use actix::SystemRunner;
use world::{Tally, World};

/// Seeds of a run in which no one asks for more.
const SEEDS: u64 = 2000;

/// Once for all tests: the strategy of the simulation, and silence about its panics.
fn set_up() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tradeflow_actors::strategy::register(trader::KINDS).expect("no one else adds strategies here");
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let meant = info.payload_as_str().is_some_and(|text| text.contains(trader::PANIC));
            if !meant {
                hook(info);
            }
        }));
    });
}

/// Lives through a seed; a failure tells so much of what came before.
fn live(runner: &SystemRunner, seed: u64, trail: usize) -> Result<Tally, String> {
    let mut world = World::new(seed);
    let result = catch_unwind(AssertUnwindSafe(|| runner.block_on(world.run())));
    let why = match result {
        Ok(Ok(tally)) => return Ok(tally),
        Ok(Err(finding)) => finding.0,
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "it panicked".into())
        }
    };
    Err(format!(
        "seed {seed}, step {}: {why}\nwhat came before:\n{}\nreplay it with\n  TRADEFLOW_SEED={seed} cargo test --release \
         -p tradeflow-live --test simulation -- --nocapture",
        world.at(),
        world.trail(trail),
    ))
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

#[test]
fn whatever_happens_nothing_is_lost_or_done_twice() {
    set_up();
    let first = number("TRADEFLOW_SEED");
    let count = number("TRADEFLOW_SEEDS").unwrap_or(if first.is_some() { 1 } else { SEEDS });
    let first = first.unwrap_or(1);
    println!("TRADEFLOW_SEED={first} TRADEFLOW_SEEDS={count}");
    let trail = if count == 1 { usize::MAX } else { 40 };
    let runner = actix::System::new();
    let (started, mut sum) = (Instant::now(), Tally::default());
    for seed in first..first + count {
        let tally = live(&runner, seed, trail).unwrap_or_else(|failure| panic!("{failure}"));
        sum.steps += tally.steps;
        sum.rows += tally.rows;
        sum.orders += tally.orders;
        sum.fills += tally.fills;
        sum.commands += tally.commands;
        sum.starts += tally.starts;
        sum.sessions += tally.sessions;
        if (seed + 1 - first).is_multiple_of(10_000) {
            println!("{} seeds, {:.0} s", seed + 1 - first, started.elapsed().as_secs_f64());
        }
    }
    println!(
        "{count} seeds in {:.1} s: {} steps, {} rows, {} commands, {} changes of orders, {} fills, {} starts of nodes, {} \
         sessions",
        started.elapsed().as_secs_f64(),
        sum.steps,
        sum.rows,
        sum.commands,
        sum.orders,
        sum.fills,
        sum.starts,
        sum.sessions,
    );
    assert!(count < 100 || (sum.fills > count && sum.starts > 2 * count), "too little happens: {sum:?}");
}

#[test]
fn a_seed_lives_the_same_life_again() {
    set_up();
    let runner = actix::System::new();
    let trail = 40;
    for seed in [3, 17, 2024, 99_999] {
        let first = live(&runner, seed, trail).unwrap_or_else(|failure| panic!("{failure}"));
        let second = live(&runner, seed, trail).unwrap_or_else(|failure| panic!("{failure}"));
        assert_eq!(first, second, "seed {seed} goes two ways");
    }
}
