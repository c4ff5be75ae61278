//! Nanoseconds an update through the normaliser, onto a bus that keeps nothing: divide the time shown by 16,384.

#![allow(missing_docs)] // criterion's macros

#[path = "../tests/support/mod.rs"]
mod support;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use rust_decimal::Decimal;
use support::{Mode, bench, coin, ms, symbol};
use tradeflow_ingest::{Sink, Update};
use tradeflow_model::Timestamp;
use tradeflow_model::market::Aggressor;

const UPDATES: usize = 16_384;
const COINS: usize = 100;

/// Trades and quotes in turn over 100 instruments, as Binance sends them: eight decimals, most of them zeros.
struct Market {
    names: Vec<tradeflow_model::Symbol>,
    next: i64,
}

impl Market {
    fn updates(&mut self) -> Vec<(Timestamp, Update)> {
        (0..UPDATES as i64)
            .map(|_| {
                let number = self.next;
                self.next += 1;
                // 500,000 a second.
                let now = ms(0).saturating_add(number * 2_000);
                let symbol = self.names[number as usize / 2 % COINS].clone();
                let price = Decimal::from_i128_with_scale(
                    6_183_763_000_000 + i128::from(number % 1_000) * 1_000_000,
                    8,
                );
                let size = Decimal::from_i128_with_scale(123_000 * (1 + i128::from(number % 7)), 8);
                let update = if number % 2 == 0 {
                    let id = Some(number as u64);
                    Update::Trade { symbol, ts_event: now, price, qty: size, aggressor: Aggressor::Buyer, id }
                } else {
                    let ask = price + Decimal::new(1, 2);
                    Update::Quote { symbol, ts_event: None, bid: price, ask, bid_size: size, ask_size: size }
                };
                (now, update)
            })
            .collect()
    }
}

fn updates(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut group = criterion.benchmark_group("normalise");
    group.throughput(Throughput::Elements(UPDATES as u64));
    for burst in [1, 16, 256] {
        let names: Vec<_> = (0..COINS).map(|number| symbol(&format!("COIN{number}USD"))).collect();
        let mut it = bench(names.iter().map(|name| coin(name.as_str(), 2, 5)), None);
        it.bus.set(Mode::Forget);
        let mut market = Market { names, next: 1 };
        group.bench_function(format!("bursts_of_{burst}"), |bencher| {
            bencher.iter_batched(
                || market.updates(),
                |updates| {
                    for (number, (now, update)) in updates.into_iter().enumerate() {
                        it.normaliser.update(now, update);
                        if number % burst == burst - 1 {
                            runtime.block_on(it.normaliser.flush());
                        }
                    }
                },
                BatchSize::PerIteration,
            );
        });
        let counts = it.counters.counts();
        assert_eq!(counts.published, counts.received, "{counts:?}");
    }
    group.finish();
}

criterion_group!(benches, updates);
criterion_main!(benches);
