//! Is work for a bar the same whatever lies behind? Prints, as JSON lines, the bars per second of an equal stretch of
//! identical work with 1,000, 10,000 and 100,000 orders behind one cell.
//!
//! A strategy sells or buys one share every other bar; each order fills at the next open. The stretches of the three
//! cells take turns, and the best of many counts, so that a busy machine does not decide.

#![allow(clippy::disallowed_methods, reason = "it measures time")]

#[path = "../benches/workload/mod.rs"]
mod workload;

use std::time::Instant;
use workload::{Workload, cell_behind};

const BATCH_BARS: usize = 4_096;
const STRETCH_BATCHES: usize = 16;
const REPETITIONS: usize = 25;

fn main() {
    let mut cells: Vec<_> = [1_000, 10_000, 100_000]
        .into_iter()
        .map(|orders| {
            let cell = cell_behind(Workload::OrderHeavy, orders * 2, BATCH_BARS);
            assert!(cell.paper.counters().orders >= orders as u64);
            (orders, cell, f64::INFINITY)
        })
        .collect();
    for _ in 0..REPETITIONS {
        for (_, cell, best) in &mut cells {
            let batches: Vec<_> = (0..STRETCH_BATCHES).map(|_| cell.market.batch(BATCH_BARS)).collect();
            let begin = Instant::now();
            for batch in &batches {
                cell.paper.on_batch(batch).expect("a plain market");
                drop(cell.paper.take_output());
            }
            *best = best.min(begin.elapsed().as_secs_f64());
        }
    }
    for (orders, _, best) in &cells {
        let bars_per_second = (BATCH_BARS * STRETCH_BATCHES) as f64 / best;
        println!("{{\"orders_behind\": {orders}, \"bars_per_second\": {bars_per_second:.0}}}");
    }
}
