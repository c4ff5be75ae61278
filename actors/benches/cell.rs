//! Nanoseconds a bar through a paper cell, batches in, outputs taken: divide the time shown by 16,384.

#![allow(missing_docs)] // criterion's macros

mod workload;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use workload::{Workload, cell_behind};

const BATCH_BARS: usize = 16_384;

fn cells(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("cell");
    group.throughput(Throughput::Elements(BATCH_BARS as u64));
    for (name, workload) in [
        ("idle", Workload::Idle),
        ("holding_sma_cross", Workload::HoldingSmaCross),
        ("order_every_other_bar", Workload::OrderHeavy),
    ] {
        let mut cell = cell_behind(workload, 1_000, BATCH_BARS);
        let held = cell.paper.cell().account().ledger().position(tradeflow_model::InstrumentId(0)).qty;
        assert!(workload != Workload::HoldingSmaCross || held.raw() == 100, "it holds {held:?}");
        group.bench_function(name, |bencher| {
            let market = &mut cell.market;
            let paper = &mut cell.paper;
            bencher.iter_batched(
                || market.batch(BATCH_BARS),
                |batch| {
                    paper.on_batch(&batch).expect("a plain market");
                    paper.take_output()
                },
                criterion::BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, cells);
criterion_main!(benches);
