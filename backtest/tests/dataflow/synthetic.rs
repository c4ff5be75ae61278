//! A job whose outputs show every batch that a shard was given, in order, and that can be told to fail anywhere.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use serde::{Deserialize, Serialize};
use tradeflow_backtest::dataflow::{Cluster, DataflowError, Job, Outcome, Shard, run};
use tradeflow_backtest::reference;
use tradeflow_model::ids::{InstrumentId, SeriesId};
use tradeflow_model::market::{Columns, MarketBatch, Run, SeriesColumns, TradeColumns};

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) enum Fault {
    /// The source does not even start.
    SourceStart,
    /// The source returns an error instead of a batch.
    Source(u64),
    /// The source skips a batch.
    SourceSkips(u64),
    /// The source ends early, without an error.
    SourceEndsEarly(u64),
    /// A shard is not made.
    Make(usize),
    /// A shard returns an error at a batch.
    Shard(usize, u64),
    /// A shard never returns from a batch.
    ShardHangs(usize, u64),
    /// A shard returns an error when it is finished.
    Finish(usize),
    /// The sink returns an error for this number of calls.
    Sink(usize),
}

/// A whole test run, as given to a process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Spec {
    pub(crate) seed: u64,
    pub(crate) shards: usize,
    /// None: without end.
    pub(crate) batches: Option<u64>,
    pub(crate) window: usize,
    pub(crate) fault: Option<Fault>,
    /// Panic instead of returning an error.
    pub(crate) panics: bool,
    /// Set the stop flag when the progress has come so far; 0: before the run.
    pub(crate) stop_at: Option<u64>,
    /// Bytes of ballast in every output.
    pub(crate) ballast: usize,
}

impl Spec {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed,
            shards: 7,
            batches: Some(60),
            window: 4,
            fault: None,
            panics: false,
            stop_at: None,
            ballast: 0,
        }
    }

    pub(crate) fn endless(seed: u64) -> Self {
        Self { batches: None, ..Self::new(seed) }
    }

    pub(crate) fn with(self, fault: Fault, panics: bool) -> Self {
        Self { fault: Some(fault), panics, ..self }
    }
}

/// A well-mixed number (the finaliser of SplitMix64).
pub(crate) fn mix(seed: u64, index: u64) -> u64 {
    let mut z = seed.wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn fail<T>(panics: bool, text: &str) -> Result<T, String> {
    if panics {
        panic!("{text}");
    }
    Err(text.to_owned())
}

pub(crate) fn batch(seed: u64, number: u64, rows: u64) -> MarketBatch {
    let mut trades = TradeColumns::default();
    for row in 0..rows {
        let word = mix(seed ^ number, row);
        trades.ts_event.push((number * 1000 + row) as i64);
        trades.ts_init.push((number * 1000 + row) as i64);
        trades.price.push((word >> 40) as i64);
        trades.qty.push((word & 0xffff) as i64);
        trades.aggressor.push(Default::default());
    }
    let columns = Arc::new(Columns::Trades(trades));
    let part = SeriesColumns { series: SeriesId(0), instrument: InstrumentId(0), columns };
    MarketBatch { number, parts: vec![part], runs: vec![Run { part: 0, start: 0, end: rows as u32 }] }
}

/// The source. Counts how many of its batches are alive at once.
pub(crate) struct Batches {
    spec: Spec,
    next: u64,
    given: Vec<Weak<MarketBatch>>,
    alive_max: Arc<AtomicUsize>,
    count: Arc<AtomicU64>,
}

impl Iterator for Batches {
    type Item = Result<Arc<MarketBatch>, String>;

    fn next(&mut self) -> Option<Self::Item> {
        let number = self.next;
        match self.spec.fault {
            Some(Fault::Source(at)) if at == number => return Some(fail(self.spec.panics, "torn file")),
            Some(Fault::SourceSkips(at)) if at == number => self.next += 1,
            Some(Fault::SourceEndsEarly(at)) if at == number => return None,
            _ => {}
        }
        if self.spec.batches.is_some_and(|batches| number >= batches) {
            return None;
        }
        let made = Arc::new(batch(self.spec.seed, self.next, mix(self.spec.seed, number) % 50));
        self.next += 1;
        self.given.retain(|batch| batch.strong_count() > 0);
        self.given.push(Arc::downgrade(&made));
        self.alive_max.fetch_max(self.given.len(), Ordering::SeqCst);
        self.count.fetch_add(1, Ordering::SeqCst);
        Some(Ok(made))
    }
}

/// What a shard tells of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Link {
    pub(crate) shard: usize,
    pub(crate) batch: Option<u64>,
    pub(crate) hash: [u8; 32],
    pub(crate) ballast: String,
}

/// A shard: a chain of hashes over every row it has seen.
pub(crate) struct Chain {
    shard: usize,
    spec: Spec,
    batches: u64,
    hash: [u8; 32],
}

impl Chain {
    fn ballast(&self) -> String {
        ["a", "b", "c"][self.shard % 3].repeat(self.spec.ballast)
    }
}

impl Shard for Chain {
    type Output = Link;

    fn on_batch(&mut self, batch: &MarketBatch, out: &mut Vec<Link>) -> Result<(), String> {
        match self.spec.fault {
            Some(Fault::Shard(shard, at)) if shard == self.shard && at == batch.number => {
                return fail(self.spec.panics, "bad cell");
            }
            Some(Fault::ShardHangs(shard, at)) if shard == self.shard && at == batch.number => loop {
                std::thread::park();
            },
            _ => {}
        }
        assert_eq!(batch.number, self.batches, "batches come in order");
        self.batches += 1;
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.hash);
        for event in batch.events() {
            hasher.update(&serde_json::to_vec(&event).unwrap());
        }
        self.hash = *hasher.finalize().as_bytes();
        // Some shards tell every batch, some seldom, some several times.
        let often = mix(self.spec.seed, self.shard as u64) % 3;
        let times = if self.batches.is_multiple_of(often + 1) { often + 1 } else { 0 };
        for _ in 0..times {
            out.push(Link {
                shard: self.shard,
                batch: Some(batch.number),
                hash: self.hash,
                ballast: self.ballast(),
            });
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<Link>) -> Result<(), String> {
        if self.spec.fault == Some(Fault::Finish(self.shard)) {
            return fail(self.spec.panics, "cannot finish");
        }
        out.push(Link { shard: self.shard, batch: None, hash: self.hash, ballast: self.ballast() });
        Ok(())
    }
}

/// All that the sink was given, call by call, with the most batches alive at once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Seen {
    pub(crate) calls: Vec<(usize, Vec<Link>)>,
    pub(crate) alive_max: usize,
}

/// A call of the sink, as it begins.
pub(crate) struct Call {
    /// The batch whose outputs are given; none for those of the end.
    pub(crate) batch: Option<u64>,
    /// Batches that the source has given by now.
    pub(crate) given: u64,
}

/// Where the job runs.
pub(crate) enum Driver {
    Reference,
    On(Box<Cluster>),
}

/// Runs the job. `progress` hears of every report; `sink` is called before each output is noted.
pub(crate) fn execute(
    driver: Driver,
    spec: &Spec,
    mut progress: impl FnMut(u64),
    mut sink: impl FnMut(&Call),
) -> (Result<Outcome, DataflowError>, Seen) {
    let mut seen = Seen::default();
    let stop = Arc::new(AtomicBool::new(spec.stop_at == Some(0)));
    let alive_max = Arc::new(AtomicUsize::new(0));
    let given = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&given);
    let (for_source, for_shards) = (spec.clone(), spec.clone());
    let (alive, raise) = (Arc::clone(&alive_max), Arc::clone(&stop));
    let job = Job {
        shard_keys: (0..spec.shards as u64).map(|shard| mix(!spec.seed, shard)).collect(),
        window_batches: spec.window,
        source: move || {
            if for_source.fault == Some(Fault::SourceStart) {
                return fail(for_source.panics, "no such folder");
            }
            Ok(Batches { spec: for_source, next: 0, given: Vec::new(), alive_max: alive, count })
        },
        make_shard: move |shard| {
            if for_shards.fault == Some(Fault::Make(shard)) {
                return fail(for_shards.panics, "bad parameter");
            }
            Ok(Chain { shard, spec: for_shards.clone(), batches: 0, hash: [0; 32] })
        },
        sink: |shard, links: Vec<Link>| {
            if spec.fault == Some(Fault::Sink(seen.calls.len())) {
                return fail(spec.panics, "disk full");
            }
            let given = given.load(Ordering::SeqCst);
            sink(&Call { batch: links[0].batch, given });
            seen.calls.push((shard, links));
            Ok(())
        },
        progress: |batches, _rows| {
            if spec.stop_at.is_some_and(|at| batches >= at) {
                raise.store(true, Ordering::SeqCst);
            }
            progress(batches);
        },
        stop,
    };
    let result = match driver {
        Driver::Reference => reference::run(job),
        Driver::On(cluster) => run(*cluster, job),
    };
    seen.alive_max = alive_max.load(Ordering::SeqCst);
    (result, seen)
}

/// The result and the sink's calls of the reference.
pub(crate) fn expected(spec: &Spec) -> (Outcome, Vec<(usize, Vec<Link>)>) {
    let (result, seen) = execute(Driver::Reference, spec, |_| {}, |_| {});
    (result.expect("the reference runs"), seen.calls)
}

/// A digest of the sink's calls, to be compared between processes.
pub(crate) fn digest(calls: &[(usize, Vec<Link>)]) -> String {
    blake3::hash(&serde_json::to_vec(calls).unwrap()).to_hex().to_string()
}

/// A seed that differs from run to run and is printed, or the one in `DATAFLOW_SEED`.
pub(crate) fn seed() -> u64 {
    let given = std::env::var("DATAFLOW_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        mix(now.as_nanos() as u64, u64::from(std::process::id())) >> 1
    });
    println!("DATAFLOW_SEED={seed}");
    seed
}
