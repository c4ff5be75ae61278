//! The sample data has the statistics of markets, and agrees with itself.

use tradeflow_model::calendar::SessionCursor;
use tradeflow_model::market::{Columns, PriceType, SeriesKind};
use tradeflow_model::*;
use tradeflow_storage::aggregate::{Aggregator, Outside, Source};
use tradeflow_storage::catalog::Catalog;
use tradeflow_storage::sample::{self, Sample, SampleOptions};

fn options(ticks: bool) -> SampleOptions {
    SampleOptions { seed: 1, from: None, to: None, symbols: Vec::new(), ticks }
}

fn bars_of<'a>(sample: &'a Sample, interval: &str, price: PriceType) -> &'a BarColumns {
    let kind = SeriesKind::Bars { interval: interval.parse().unwrap(), price_type: price };
    match sample.series.iter().find(|(found, _)| *found == kind) {
        Some((_, Columns::Bars(bars))) => bars,
        _ => panic!("{} has no {interval} bars", sample.instrument.symbol),
    }
}

/// Kurtosis of returns, and autocorrelation of their squares at lag 1.
fn statistics(closes: &[i64]) -> (f64, f64) {
    let returns: Vec<f64> = closes.windows(2).map(|pair| pair[1] as f64 / pair[0] as f64 - 1.0).collect();
    let mean = |values: &mut dyn Iterator<Item = f64>| {
        let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
        sum / count
    };
    let centre = mean(&mut returns.iter().copied());
    let squares: Vec<f64> = returns.iter().map(|r| (r - centre) * (r - centre)).collect();
    let variance = mean(&mut squares.iter().copied());
    let kurtosis = mean(&mut squares.iter().map(|s| s * s)) / (variance * variance);
    let spread = mean(&mut squares.iter().map(|s| (s - variance) * (s - variance)));
    let lagged = mean(&mut squares.windows(2).map(|pair| (pair[0] - variance) * (pair[1] - variance)));
    (kurtosis, lagged / spread)
}

#[test]
fn returns_have_heavy_tails_and_volatility_clusters() {
    let samples = sample::generate(&options(false)).unwrap();
    let [btc, eq, fx, fut] = &samples[..] else { panic!("four markets") };
    for (name, bars) in [
        ("SAMPLE-BTC", bars_of(btc, "1m", PriceType::Last)),
        ("SAMPLE-EQ", bars_of(eq, "1m", PriceType::Last)),
        ("SAMPLE-FX", bars_of(fx, "1m", PriceType::Bid)),
        ("SAMPLE-FUT", bars_of(fut, "1m", PriceType::Last)),
    ] {
        let (kurtosis, clustering) = statistics(&bars.close);
        println!("{name}: kurtosis {kurtosis:.1}, autocorrelation of squared returns {clustering:.3}");
        assert!(kurtosis > 3.5, "{name}: {kurtosis}");
        assert!(clustering > 0.02, "{name}: {clustering}");
    }
}

#[test]
fn events_lie_in_sessions_and_bars_agree_with_them() {
    for sample in sample::generate(&options(true)).unwrap() {
        let instrument = &sample.instrument;
        let mut sessions = SessionCursor::new(instrument.calendar);
        let tick = instrument.price_increment.raw();
        for (kind, columns) in &sample.series {
            assert!(!columns.is_empty(), "{} {kind:?}", instrument.symbol);
            match columns {
                Columns::Bars(bars) => {
                    for row in 0..columns.len() {
                        let (low, high) = (bars.low[row], bars.high[row]);
                        assert!(low <= bars.open[row].min(bars.close[row]));
                        assert!(high >= bars.open[row].max(bars.close[row]));
                        assert!(
                            [low, high, bars.open[row], bars.close[row]]
                                .iter()
                                .all(|p| p % tick == 0 && *p > 0)
                        );
                        assert!(sessions.session_at(Timestamp::from_nanos(bars.ts_open[row])).is_some());
                    }
                }
                Columns::Quotes(quotes) => {
                    assert!((0..columns.len()).all(|row| quotes.ask[row] > quotes.bid[row]));
                    assert!(quotes.ts_event.iter().all(|t| sessions.is_open(Timestamp::from_nanos(*t))));
                    check_bars(&sample, columns);
                }
                Columns::Trades(trades) => {
                    assert!(trades.qty.iter().all(|qty| *qty > 0));
                    check_bars(&sample, columns);
                }
                _ => {}
            }
        }
    }
}

/// The minutes made of the events are those of the sample.
fn check_bars(sample: &Sample, events: &Columns) {
    let ids = (SeriesId(0), InstrumentId(0));
    let (source, price) = match events {
        Columns::Trades(_) => (Source::Trades, PriceType::Last),
        _ if sample.instrument.class == AssetClass::FxPair => {
            (Source::Quotes(PriceType::Bid), PriceType::Bid)
        }
        _ => return,
    };
    let mut aggregator =
        Aggregator::new(&sample.instrument, ids, source, Interval::MINUTE, Outside::Drop).unwrap();
    let mut made = Vec::new();
    for row in 0..events.len() {
        match events {
            Columns::Trades(c) => aggregator.push_trade(&c.get(row, ids.0, ids.1), &mut made).unwrap(),
            Columns::Quotes(c) => aggregator.push_quote(&c.get(row, ids.0, ids.1), &mut made).unwrap(),
            _ => {}
        }
    }
    aggregator.flush(&mut made);
    let bars = bars_of(sample, "1m", price);
    let first = bars.ts_open.partition_point(|t| *t < made[0].ts_open.as_nanos());
    let kept: Vec<Bar> = (first..bars.ts_open.len()).map(|row| bars.get(row, ids.0, ids.1)).collect();
    assert_eq!(made, kept, "{}", sample.instrument.symbol);
}

#[test]
fn spreads_widen_with_volatility() {
    let samples = sample::generate(&options(false)).unwrap();
    let fx = &samples[2];
    let Some((_, Columns::Quotes(quotes))) = fx.series.iter().find(|(kind, _)| *kind == SeriesKind::Quotes)
    else {
        panic!("the pair has quotes");
    };
    // By minute: mean spread, and range of the bid.
    let mut minutes: Vec<(i64, f64, f64)> = Vec::new();
    let minute = |row: usize| quotes.ts_event[row] / time::NANOS_PER_MIN;
    let mut start = 0;
    for row in 1..=quotes.bid.len() {
        if row < quotes.bid.len() && minute(row) == minute(start) {
            continue;
        }
        let bids = &quotes.bid[start..row];
        let range = (bids.iter().max().unwrap() - bids.iter().min().unwrap()) as f64;
        let spread: i64 = (start..row).map(|r| quotes.ask[r] - quotes.bid[r]).sum();
        minutes.push((minute(start), range, spread as f64 / bids.len() as f64));
        start = row;
    }
    // Hour by hour, because the spread follows the time of day too.
    let (mut calm, mut wild) = (0.0, 0.0);
    for hour in 0..24 {
        let mut of_hour: Vec<_> = minutes.iter().filter(|m| m.0 / 60 % 24 == hour).collect();
        of_hour.sort_by(|a, b| a.1.total_cmp(&b.1));
        let fifth = of_hour.len() / 5;
        let sum = |part: &[&(i64, f64, f64)]| part.iter().map(|m| m.2).sum::<f64>();
        calm += sum(&of_hour[..fifth]);
        wild += sum(&of_hour[of_hour.len() - fifth..]);
    }
    println!("spread in the wildest fifth of an hour's minutes over that in the calmest: {:.2}", wild / calm);
    assert!(wild > 1.1 * calm);
}

#[test]
fn one_seed_gives_one_catalog() {
    // Fixed values: another machine, or another version of a library, must give the same data.
    let samples =
        sample::generate(&SampleOptions { symbols: vec!["SAMPLE-FUT".into()], ..options(false) }).unwrap();
    let bars = bars_of(&samples[0], "1m", PriceType::Last);
    let mut digest = DigestWriter::new();
    for column in [&bars.ts_open, &bars.open, &bars.high, &bars.low, &bars.close, &bars.volume] {
        column.iter().for_each(|value| digest.i64(*value));
    }
    assert_eq!(&digest.finish().to_string()[..16], "bad849cd754d754c");

    let folder = tempfile::tempdir().unwrap();
    let catalog = Catalog::open(folder.path().to_str().unwrap()).unwrap();
    let options = SampleOptions { symbols: vec!["SAMPLE-FX".into()], ..options(false) };
    let first = sample::write(&catalog, &options).unwrap();
    assert!(first.iter().all(|written| written.merge.added == written.rows));
    let again = sample::write(&catalog, &options).unwrap();
    assert!(again.iter().all(|written| written.merge.files_written == 0 && written.merge.added == 0));
    assert!(sample::write(&catalog, &SampleOptions { seed: 2, ..options }).is_err());
    let unknown = SampleOptions { symbols: vec!["BTC".into()], ..self::options(false) };
    assert!(sample::generate(&unknown).unwrap_err().to_string().contains("SAMPLE-BTC"));
}
