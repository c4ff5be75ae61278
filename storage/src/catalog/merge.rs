//! The rules by which rows join those that are there. Pure: columns in, columns out.

use std::collections::HashMap;

use tradeflow_model::BarColumns;

use super::ConflictPolicy;
use super::rows::{Rows, Values};

/// What merging two stretches of rows gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    pub(crate) added: u64,
    pub(crate) unchanged: u64,
    pub(crate) replaced: u64,
    pub(crate) conflicts: u64,
    /// Rows whose `ts_init` moved to an earlier time.
    pub(crate) earlier: u64,
}

impl Counts {
    /// Whether the merged rows differ from the existing ones.
    pub(crate) fn changes(&self) -> bool {
        self.added + self.replaced + self.earlier > 0
    }
}

/// Two different bars at one time, under [`ConflictPolicy::Reject`]: rows of the existing and of the new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Clash {
    pub(crate) existing: usize,
    pub(crate) new: usize,
}

/// Merges bars keyed by `ts_open`. Both are sorted; the new may hold a key twice, which is judged like a key that is
/// in both.
pub(crate) fn by_key(
    existing: &BarColumns,
    new: &BarColumns,
    policy: ConflictPolicy,
) -> Result<(BarColumns, Counts), Clash> {
    let mut merged = BarColumns::default();
    let mut counts = Counts::default();
    let mut at = 0;
    for row in 0..new.ts_open.len() {
        let key = new.ts_open[row];
        let stop = at + existing.ts_open[at..].partition_point(|t| *t <= key);
        merged.extend(existing, at..stop);
        at = stop;
        if merged.ts_open.last() != Some(&key) {
            merged.extend(new, row..row + 1);
            counts.added += 1;
            continue;
        }
        let last = merged.ts_open.len() - 1;
        let (old, fresh) = (merged.values(last), new.values(row));
        if old[..7] == fresh[..7] {
            counts.unchanged += 1;
            if fresh[7] < old[7] {
                merged.ts_init[last] = fresh[7];
                counts.earlier += 1;
            }
            continue;
        }
        match policy {
            // `stop` rows of the existing lie before; the clash is with the last of them, or with an earlier new row.
            ConflictPolicy::Reject => return Err(Clash { existing: stop.saturating_sub(1), new: row }),
            ConflictPolicy::Keep => counts.conflicts += 1,
            ConflictPolicy::Replace => {
                merged.truncate(last);
                merged.extend(new, row..row + 1);
                counts.replaced += 1;
            }
        }
    }
    merged.extend(existing, at..existing.ts_open.len());
    Ok((merged, counts))
}

/// Merges rows as multisets: of a row that is there `m` times and given `n` times, `max(m, n)` remain. At one time
/// the existing rows stand first, each side in its own order.
pub(crate) fn as_multiset<R: Rows>(existing: &R, new: &R) -> (R, Counts) {
    let mut merged = R::default();
    let mut counts = Counts::default();
    let (mut at, mut row) = (0, 0);
    while row < new.len() {
        let key = new.key(row);
        let row_end = group_end(new, row);
        let before = (at..existing.len()).find(|r| existing.key(*r) >= key).unwrap_or(existing.len());
        let same = if before < existing.len() && existing.key(before) == key {
            group_end(existing, before)
        } else {
            before
        };
        merged.extend(existing, at..same);
        let mut there: HashMap<Values, u64> = HashMap::new();
        for r in before..same {
            *there.entry(existing.values(r)).or_default() += 1;
        }
        for r in row..row_end {
            match there.get_mut(&new.values(r)) {
                Some(left) if *left > 0 => {
                    *left -= 1;
                    counts.unchanged += 1;
                }
                _ => {
                    merged.extend(new, r..r + 1);
                    counts.added += 1;
                }
            }
        }
        at = same;
        row = row_end;
    }
    merged.extend(existing, at..existing.len());
    (merged, counts)
}

fn group_end<R: Rows>(rows: &R, start: usize) -> usize {
    let key = rows.key(start);
    (start..rows.len()).find(|r| rows.key(*r) != key).unwrap_or(rows.len())
}

trait Truncate {
    fn truncate(&mut self, rows: usize);
}

impl Truncate for BarColumns {
    fn truncate(&mut self, rows: usize) {
        let columns = [
            &mut self.ts_open,
            &mut self.ts_event,
            &mut self.ts_init,
            &mut self.open,
            &mut self.high,
            &mut self.low,
            &mut self.close,
            &mut self.volume,
        ];
        for column in columns {
            column.truncate(rows);
        }
    }
}
