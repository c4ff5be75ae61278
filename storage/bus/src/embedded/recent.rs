//! What was committed of late, in memory, until the store's tables have it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use fjall::Slice;

use super::layout::{Meta, meta_key};
use super::store::{Op, Space};
use super::wal::Done;
use crate::error::BusError;

/// What an entry in memory costs beyond its bytes, roughly.
const ENTRY_BYTES: usize = 96;

/// The last change of each entry; a removal is one as well.
#[derive(Debug, Default)]
pub struct Changes {
    entries: BTreeMap<(Space, Slice), Option<Slice>>,
    /// What they take in memory, at most.
    pub bytes: usize,
    /// Number of the last commit among them.
    last: u64,
}

impl Changes {
    /// Takes in a commit.
    pub fn take(&mut self, number: u64, ops: &[Op]) {
        for op in ops {
            self.bytes += ENTRY_BYTES + op.key.len() + op.value.as_ref().map_or(0, |value| value.len());
            self.entries.insert((op.space, op.key.clone()), op.value.clone());
        }
        self.last = number;
    }

    /// What is to be written to the tables, in their order: with the row that says up to which commit they are settled
    /// then.
    pub fn settling(&mut self) {
        if self.last == 0 {
            return;
        }
        let row = Slice::from(self.last.to_le_bytes());
        self.entries.insert((Space::Meta, settled_key().into()), Some(row));
    }

    /// In the order of spaces and keys.
    pub fn iter(&self) -> impl Iterator<Item = (Space, &Slice, &Option<Slice>)> {
        self.entries.iter().map(|((space, key), value)| (*space, key, value))
    }

    fn range(&self, space: Space, from: &Slice, to: &Slice) -> impl DoubleEndedIterator<Item = Change<'_>> {
        let range = (space, from.clone())..(space, to.max(from).clone());
        self.entries.range(range).map(|((_, key), value)| (key, value))
    }
}

type Change<'a> = (&'a Slice, &'a Option<Slice>);

/// Key of the row that says up to which commit the tables have everything.
pub fn settled_key() -> Vec<u8> {
    meta_key(Meta::Settled, 0, 0, b"")
}

/// All that the tables do not have yet.
#[derive(Default)]
pub struct Recent {
    /// Of the file that grows.
    pub active: Changes,
    /// Of files before it, the oldest first.
    pub done: VecDeque<Arc<Done>>,
    /// Why the tables could not take the oldest of them.
    pub failure: Option<BusError>,
    /// No thread takes them to the tables any more.
    pub stopped: bool,
}

impl Recent {
    /// The newest first.
    fn layers(&self) -> impl DoubleEndedIterator<Item = &Changes> {
        std::iter::once(&self.active).chain(self.done.iter().rev().map(|done| &done.changes))
    }

    /// The last change of an entry.
    pub fn get(&self, space: Space, key: &[u8]) -> Option<Option<Slice>> {
        let key = (space, Slice::from(key));
        self.layers().find_map(|layer| layer.entries.get(&key)).cloned()
    }

    /// The changes of entries from `from` on and before `to`, about `limit` bytes of them; and, when there are more, the
    /// key up to which they are all there.
    pub fn page(
        &self,
        space: Space,
        from: &Slice,
        to: &Slice,
        limit: usize,
    ) -> (BTreeMap<Slice, Option<Slice>>, Option<Slice>) {
        let (mut page, mut whole): (_, Option<Slice>) = (BTreeMap::new(), None);
        for layer in self.layers().rev() {
            let mut bytes = 0;
            for (key, value) in layer.range(space, from, to) {
                if bytes >= limit {
                    break;
                }
                page.insert(key.clone(), value.clone());
                bytes += ENTRY_BYTES + key.len() + value.as_ref().map_or(0, |value| value.len());
                if bytes >= limit && whole.as_ref().is_none_or(|whole| key < whole) {
                    whole = Some(key.clone());
                }
            }
        }
        (page, whole)
    }

    /// The last key with a change, from `from` on and before `to`.
    pub fn last(&self, space: Space, from: &Slice, to: &Slice) -> Option<Slice> {
        self.layers()
            .filter_map(|layer| layer.range(space, from, to).next_back())
            .map(|(key, _)| key.clone())
            .max()
    }
}
