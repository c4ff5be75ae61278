//! What the drivers cost: nanoseconds a batch of 64k rows for a shard that does nothing, and for one that sums the
//! prices, with the plain loop, the reference, and the dataflow on 1 and 2 workers.
//!
//! `cargo run --release -p tradeflow-backtest --example dataflow_overhead`

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use tradeflow_backtest::dataflow::{Cluster, Job, Shard, run};
use tradeflow_backtest::reference;
use tradeflow_model::ids::{InstrumentId, SeriesId};
use tradeflow_model::market::{Columns, MarketBatch, Run, SeriesColumns, TradeColumns};

const BATCHES: u64 = 20_000;
const ROWS: u32 = 65_536;

/// Sums prices, or does nothing.
struct Sum {
    sums: bool,
    total: i64,
}

impl Shard for Sum {
    type Output = i64;

    fn on_batch(&mut self, batch: &MarketBatch, _out: &mut Vec<i64>) -> Result<(), String> {
        let Columns::Trades(trades) = &*batch.parts[0].columns else { return Err("not trades".to_owned()) };
        if self.sums {
            self.total += trades.price.iter().sum::<i64>();
        }
        self.total += batch.number as i64;
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<i64>) -> Result<(), String> {
        out.push(self.total);
        Ok(())
    }
}

fn main() {
    let column = || (0..i64::from(ROWS)).collect::<Vec<_>>();
    let columns = Arc::new(Columns::Trades(TradeColumns {
        ts_event: column(),
        ts_init: column(),
        price: column(),
        qty: column(),
        aggressor: vec![Default::default(); ROWS as usize],
    }));
    // All batches share their columns, so that the source costs nothing.
    let batch = move |number| {
        let part =
            SeriesColumns { series: SeriesId(0), instrument: InstrumentId(0), columns: Arc::clone(&columns) };
        MarketBatch { number, parts: vec![part], runs: vec![Run { part: 0, start: 0, end: ROWS }] }
    };
    for sums in [false, true] {
        for driver in ["loop", "reference", "1 worker", "2 workers"] {
            let batch = batch.clone();
            let mut total = 0;
            let started = Instant::now();
            if driver == "loop" {
                let mut shard = Sum { sums, total: 0 };
                let mut out = Vec::new();
                for number in 0..BATCHES {
                    let batch = std::hint::black_box(Arc::new(batch(number)));
                    shard.on_batch(&batch, &mut out).unwrap();
                }
                total = shard.total;
            } else {
                let job = Job {
                    shard_keys: vec![0],
                    window_batches: 8,
                    source: move || Ok((0..BATCHES).map(move |number| Ok(Arc::new(batch(number))))),
                    make_shard: move |_| Ok(Sum { sums, total: 0 }),
                    sink: |_, made: Vec<i64>| {
                        total = made[0];
                        Ok(())
                    },
                    progress: |_, _| {},
                    stop: Arc::new(AtomicBool::new(false)),
                };
                let result = match driver {
                    "reference" => reference::run(job),
                    "1 worker" => run(Cluster::single(1), job),
                    _ => run(Cluster::single(2), job),
                };
                assert_eq!(result.map(|outcome| outcome.batches), Ok(BATCHES));
            }
            let nanos = started.elapsed().as_nanos() as u64 / BATCHES;
            let what = if sums { "summing" } else { "empty" };
            println!("{what:8} {driver:10} {nanos:7} ns a batch  (check {total})");
        }
    }
}
