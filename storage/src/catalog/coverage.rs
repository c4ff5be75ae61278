//! What a vendor was asked for already: `coverage/<vendor>/<folder of the series>.json`.
//!
//! A series alone does not tell whether a minute without a bar was never asked for or has none: quiet minutes have no
//! bar, and to ask again for them costs a share of the vendor's quota. So who fetches notes the stretches that a vendor
//! has answered, and how many rows each gave. A stretch counts only as long as the catalog still has that many rows
//! there.

use serde::{Deserialize, Serialize};
use tradeflow_model::Timestamp;

use super::store::Version;
use super::{Catalog, CatalogError, SeriesKey};

/// A stretch of time that a vendor has answered: `from <= t < to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Covered {
    /// Its first instant, in nanoseconds.
    pub from: Timestamp,
    /// The first instant after it.
    pub to: Timestamp,
    /// Rows that the catalog had there afterwards, by key time.
    pub rows: u64,
}

/// Stretches that one vendor has answered of one series: sorted, none across another, neighbours joined.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Coverage {
    stretches: Vec<Covered>,
}

impl Coverage {
    /// The stretches, in order.
    pub fn stretches(&self) -> &[Covered] {
        &self.stretches
    }

    /// Adds a stretch that lies across none that is there. An empty one is left out.
    pub fn add(&mut self, new: Covered) {
        if new.from >= new.to {
            return;
        }
        let at = self.stretches.partition_point(|old| old.from < new.from);
        self.stretches.insert(at, new);
        self.stretches.dedup_by(|next, one| {
            let meets = next.from <= one.to;
            if meets {
                one.to = one.to.max(next.to);
                one.rows += next.rows;
            }
            meets
        });
    }

    /// Keeps the stretches for which `is_there` says so.
    pub fn retain(&mut self, is_there: impl FnMut(&Covered) -> bool) {
        self.stretches.retain(is_there);
    }

    /// The parts of `wanted` (sorted) that are not covered.
    pub fn missing_of(&self, wanted: &[(Timestamp, Timestamp)]) -> Vec<(Timestamp, Timestamp)> {
        let mut missing = Vec::new();
        for &(mut from, to) in wanted {
            for stretch in &self.stretches {
                if stretch.to <= from || stretch.from >= to {
                    continue;
                }
                if stretch.from > from {
                    missing.push((from, stretch.from));
                }
                from = from.max(stretch.to);
            }
            if from < to {
                missing.push((from, to));
            }
        }
        missing
    }
}

fn path(vendor: &str, key: &SeriesKey) -> Result<String, CatalogError> {
    let folder = key.folder().ok_or_else(|| CatalogError::WrongKind { series: key.to_string() })?;
    Ok(format!("{FOLDER}{vendor}/{folder}.json"))
}

/// Where coverage lies within a catalog.
pub(crate) const FOLDER: &str = "coverage/";

impl Catalog {
    /// What `vendor` (a word) has answered of a series; empty where it was never asked.
    ///
    /// # Errors
    /// When the store fails, or the file is not coverage.
    pub fn coverage(&self, vendor: &str, key: &SeriesKey) -> Result<Coverage, CatalogError> {
        let path = path(vendor, key)?;
        let Some((bytes, _)) = self.store.get(&path)? else { return Ok(Coverage::default()) };
        serde_json::from_slice(&bytes).map_err(|e| CatalogError::Corrupt {
            path,
            why: format!(
                "is not a list of covered times ({e}); remove it, and what it covers is asked for again"
            ),
        })
    }

    /// Replaces what is noted of a vendor and series. Call it after the rows are committed: what is not noted is only
    /// asked for again.
    ///
    /// # Errors
    /// When the store fails.
    pub fn put_coverage(
        &self,
        vendor: &str,
        key: &SeriesKey,
        coverage: &Coverage,
    ) -> Result<(), CatalogError> {
        let path = path(vendor, key)?;
        let _lock = self.store.lock()?;
        let version = self.store.get(&path)?.map_or(Version::Absent, |(_, version)| Version::Seen(version));
        let mut text = serde_json::to_string_pretty(coverage).expect("coverage is plain data");
        text.push('\n');
        self.store.put(&path, text.into(), &version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(nanos: i64) -> Timestamp {
        Timestamp::from_nanos(nanos)
    }

    proptest! {
        #[test]
        fn missing_and_covered_together_are_what_was_wanted(
            covered in proptest::collection::vec((0_i64..60, 1_i64..10), 0..8),
            wanted in (0_i64..60, 1_i64..30),
        ) {
            let mut coverage = Coverage::default();
            let mut is_covered = [false; 100];
            for (from, length) in covered {
                let free = (from..from + length).all(|t| !is_covered[t as usize]);
                if free {
                    coverage.add(Covered { from: at(from), to: at(from + length), rows: length as u64 });
                    (from..from + length).for_each(|t| is_covered[t as usize] = true);
                }
            }
            let total: u64 = coverage.stretches().iter().map(|stretch| stretch.rows).sum();
            prop_assert_eq!(total, is_covered.iter().filter(|covered| **covered).count() as u64);
            prop_assert!(coverage.stretches().windows(2).all(|pair| pair[0].to < pair[1].from));
            let (from, to) = (wanted.0, wanted.0 + wanted.1);
            let missing = coverage.missing_of(&[(at(from), at(to))]);
            for t in from..to {
                let is_missing = missing.iter().any(|(a, b)| *a <= at(t) && at(t) < *b);
                prop_assert_eq!(is_missing, !is_covered[t as usize], "at {}", t);
            }
            prop_assert!(missing.iter().all(|(a, b)| *a >= at(from) && *b <= at(to) && a < b));
        }
    }

    #[test]
    fn coverage_is_kept_beside_the_data_and_is_no_stray() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(folder.path().to_str().unwrap()).unwrap();
        let symbol = tradeflow_model::Symbol::new("EURUSD=X").unwrap();
        let interval = tradeflow_model::Interval::MINUTE;
        let key = SeriesKey::bars(symbol, interval, tradeflow_model::market::PriceType::Last);
        assert_eq!(catalog.coverage("yahoo", &key).unwrap(), Coverage::default());
        let mut coverage = Coverage::default();
        coverage.add(Covered { from: at(0), to: at(5), rows: 3 });
        catalog.put_coverage("yahoo", &key, &coverage).unwrap();
        assert_eq!(catalog.coverage("yahoo", &key).unwrap(), coverage);
        assert_eq!(catalog.coverage("binance", &key).unwrap(), Coverage::default());
        assert!(catalog.series().unwrap().is_empty());
        let report = catalog.verify(None, |_, _| std::ops::ControlFlow::Continue(())).unwrap();
        assert!(report.strays.is_empty(), "{:?}", report.strays);
    }
}
