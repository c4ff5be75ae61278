//! The last records of a table's keys: its partition is read to the end.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::bus::{Scan, Stored};
use crate::error::BusError;

/// Records taken at a time.
const TAKEN_MAX: usize = 1024;

/// The last records of the partition's keys, of all or of one, by a scan from its beginning. Holds at most one record of
/// each, and what is taken at a time.
pub(super) fn read(mut scan: Box<dyn Scan>, key: Option<&[u8]>) -> Result<Vec<Stored>, BusError> {
    let mut found: BTreeMap<Bytes, Stored> = BTreeMap::new();
    loop {
        let records = scan.next(TAKEN_MAX)?;
        if records.is_empty() {
            return Ok(found.into_values().collect());
        }
        for record in records.into_iter().filter(|record| key.is_none_or(|key| record.key == key)) {
            if record.value.is_some() {
                found.insert(record.key.clone(), record);
            } else {
                found.remove(&record.key);
            }
        }
    }
}
