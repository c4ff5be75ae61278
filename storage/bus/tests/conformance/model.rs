//! A property test: any history of writes, reads and restarts reads as a plain model says.

use std::cell::RefCell;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use tradeflow_bus::Durability;

use super::{Fixture, at, log, number, numbered};

const PARTITIONS: u32 = 3;

#[derive(Debug, Clone)]
enum Step {
    Publish(Vec<u32>, bool),
    Claim(u32),
    Append(u32, usize),
    Read { partition: u32, from: prop::sample::Index, max: usize },
    Follow(usize),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let partition = 0..PARTITIONS;
    let step = prop_oneof![
        4 => (prop::collection::vec(partition.clone(), 1..40), prop::bool::weighted(0.1))
            .prop_map(|(partitions, power)| Step::Publish(partitions, power)),
        1 => partition.clone().prop_map(Step::Claim),
        2 => (partition.clone(), 1..10_usize).prop_map(|(partition, count)| Step::Append(partition, count)),
        3 => (partition, any::<prop::sample::Index>(), 1..50_usize)
            .prop_map(|(partition, from, max)| Step::Read { partition, from, max }),
        3 => (1..100_usize).prop_map(Step::Follow),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..60)
}

/// Whatever is written, in whatever way, is read from any place, and by a reader that follows all partitions, exactly
/// once and in order, over restarts.
pub fn any_history_reads_as_the_model_says(fixture: impl Fixture) {
    let abilities = fixture.abilities();
    let fixture = RefCell::new((fixture, 0_u32));
    let seed = super::seed();
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config {
        cases: abilities.cases,
        failure_persistence: None,
        max_shrink_iters: 200,
        ..Config::default()
    };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let outcome = runner.run(&steps(), |steps| {
        let (fixture, case) = &mut *fixture.borrow_mut();
        *case += 1;
        history(fixture, &format!("model-{case}"), &steps);
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("TRADEFLOW_SEED={seed}: {error}");
    }
}

fn history(fixture: &mut impl Fixture, name: &str, steps: &[Step]) {
    let patience = fixture.abilities().patience;
    let topic = log(fixture, name, PARTITIONS);
    // Of each partition: (offset, number) of each record; and how far the follower has read.
    let mut model: [Vec<(u64, u64)>; PARTITIONS as usize] = Default::default();
    let mut followed = [0_usize; PARTITIONS as usize];
    let mut claims = [const { None }; PARTITIONS as usize];
    let mut follower = None;
    let mut next = 0;
    for step in steps {
        let batch = |partitions: &[u32]| -> Vec<_> {
            partitions.iter().zip(next..).map(|(partition, n)| numbered(&topic, *partition, n)).collect()
        };
        match step {
            Step::Publish(partitions, power) => {
                let records = batch(partitions);
                let durability = if *power { Durability::Power } else { Durability::Process };
                let places = fixture.bus().publish(records, durability).wait().expect("written").places;
                for ((partition, offset), n) in places.into_iter().zip(next..) {
                    model[partition as usize].push((offset, n));
                    next = n + 1;
                }
            }
            Step::Claim(partition) => {
                let claim = fixture.bus().claim(&topic, *partition, Durability::Process).expect("claimed");
                claims[*partition as usize] = Some(claim);
            }
            Step::Append(partition, count) => {
                let Some(claim) = &mut claims[*partition as usize] else { continue };
                let records = batch(&vec![*partition; *count]);
                let places = claim.append(records).wait().expect("written").places;
                for ((partition, offset), n) in places.into_iter().zip(next..) {
                    model[partition as usize].push((offset, n));
                    next = n + 1;
                }
            }
            Step::Read { partition, from, max } => {
                let known = &model[*partition as usize];
                if known.is_empty() {
                    continue;
                }
                let from = from.index(known.len());
                let mut reader = super::reader(&fixture.bus(), &topic, *partition, known[from].0);
                let count = (*max).min(known.len() - from);
                let records = super::take(reader.as_mut(), count, patience);
                let found: Vec<_> = records.iter().map(|record| (record.offset, number(record))).collect();
                assert_eq!(found, known[from..from + count]);
            }
            Step::Follow(max) => {
                let reader = follower.get_or_insert_with(|| {
                    let from: Vec<_> = (0..PARTITIONS)
                        .map(|partition| {
                            let (known, read) = (&model[partition as usize], followed[partition as usize]);
                            let after_last = known.last().map_or(0, |last| last.0 + 1);
                            at(&topic, partition, known.get(read).map_or(after_last, |place| place.0))
                        })
                        .collect();
                    fixture.bus().reader(&from).expect("a reader")
                });
                let left: usize = (0..PARTITIONS as usize).map(|i| model[i].len() - followed[i]).sum();
                let timeout = if left == 0 { Duration::from_millis(1) } else { patience };
                let records = reader.poll(*max, timeout).expect("read");
                assert_eq!(records.is_empty(), left == 0);
                assert!(records.len() <= *max);
                for record in records {
                    let partition = record.partition as usize;
                    let expected = model[partition][followed[partition]];
                    assert_eq!((record.offset, number(&record)), expected, "partition {partition}");
                    followed[partition] += 1;
                }
            }
            Step::Reopen => {
                claims = [const { None }; PARTITIONS as usize];
                follower = None;
                fixture.reopen();
            }
        }
    }
    for (partition, known) in model.iter().enumerate() {
        let bounds = fixture.bus().bounds(&topic, partition as u32).expect("bounds");
        assert!(known.last().is_none_or(|last| bounds.end > last.0));
    }
}
