//! Reading frames of Binance: a trade should take about a microsecond.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tradeflow_ingest::binance::wire::parse;

const TRADE: &str = r#"{"stream":"btcusdt@trade","data":{"e":"trade","E":1700000000123,"s":"BTCUSDT","t":3735683259,"p":"61837.63000000","q":"0.02000000","T":1700000000122,"m":true,"M":true}}"#;
const QUOTE: &str = r#"{"stream":"btcusdt@bookTicker","data":{"u":50093239212,"s":"BTCUSDT","b":"61837.63000000","B":"3.78826000","a":"61837.64000000","A":"1.54698000"}}"#;

fn frames(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("binance");
    group.throughput(Throughput::Elements(1));
    for (name, text) in [("trade", TRADE), ("quote", QUOTE)] {
        group.bench_function(name, |bencher| bencher.iter(|| parse(black_box(text)).is_ok()));
    }
    group.finish();
}

criterion_group!(benches, frames);
criterion_main!(benches);
