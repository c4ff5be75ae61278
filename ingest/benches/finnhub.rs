//! Reading a frame of ten trades, as recorded frames look. Aim: about 0.3 µs a trade.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tradeflow_ingest::finnhub::wire::{Frame, parse};

fn frame() -> String {
    let trade = |n: u32| {
        let codes = if n.is_multiple_of(3) { r#"["1"]"# } else { r#"["1","8","12"]"# };
        format!(r#"{{"c":{codes},"p":164.06{n},"s":"AAPL","t":16802865380{n}4,"v":{}}}"#, 1 + n * 13)
    };
    let data: Vec<String> = (0..10).map(trade).collect();
    format!(r#"{{"data":[{}],"type":"trade"}}"#, data.join(","))
}

fn benches(c: &mut Criterion) {
    let text = frame();
    let mut group = c.benchmark_group("finnhub");
    group.throughput(Throughput::Elements(10));
    group.bench_function("parse a frame of 10 trades", |b| {
        b.iter(|| match parse(black_box(&text)) {
            Ok(Frame::Trades { trades, bad }) => {
                assert!(bad.is_empty());
                trades.len()
            }
            other => panic!("{other:?}"),
        });
    });
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
