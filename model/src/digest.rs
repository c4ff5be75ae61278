//! Digests: short proofs that two runs read, decided and paid the same.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A BLAKE3 digest of 32 bytes, written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// The digest of a value's canonical JSON (fields in declared order, maps sorted by key).
    ///
    /// # Panics
    /// When the value can't be written as JSON, which plain data always can.
    pub fn of_json<T: Serialize>(value: &T) -> Self {
        Self::of(&serde_json::to_vec(value).expect("plain data is always JSON"))
    }

    /// The raw bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// From raw bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.to_string()
    }
}

impl TryFrom<String> for Digest {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let refuse = || format!("{text:?} is not a digest of 64 hexadecimal digits");
        if text.len() != 64 || !text.is_ascii() {
            return Err(refuse());
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| refuse())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| refuse())?;
        }
        Ok(Self(bytes))
    }
}

/// Digests a stream of small values.
///
/// Bytes are gathered into pieces of 64 KiB, and each full piece is folded into a chain: `chain = H(chain ‖ piece)`.
/// Long pieces hash several times faster than eight bytes at a time, and the chain with the unfinished piece is all
/// there is to a snapshot, so a restored cell goes on with the same digest.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DigestWriter {
    chain: [u8; 32],
    pending: Vec<u8>,
}

impl Default for DigestWriter {
    fn default() -> Self {
        Self::new()
    }
}

impl DigestWriter {
    const PIECE_BYTES: usize = 64 * 1024;

    /// An empty digest.
    pub fn new() -> Self {
        Self { chain: [0; 32], pending: Vec::with_capacity(Self::PIECE_BYTES) }
    }

    /// Adds bytes. Lengths are not added: write them first where a value's length varies.
    #[inline]
    pub fn bytes(&mut self, bytes: &[u8]) {
        if self.pending.len() + bytes.len() < Self::PIECE_BYTES {
            self.pending.extend_from_slice(bytes);
            return;
        }
        self.fold(bytes);
    }

    fn fold(&mut self, mut bytes: &[u8]) {
        while self.pending.len() + bytes.len() >= Self::PIECE_BYTES {
            let (head, tail) = bytes.split_at(Self::PIECE_BYTES - self.pending.len());
            self.pending.extend_from_slice(head);
            self.chain = self.linked();
            self.pending.clear();
            bytes = tail;
        }
        self.pending.extend_from_slice(bytes);
    }

    fn linked(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.chain);
        hasher.update(&self.pending);
        *hasher.finalize().as_bytes()
    }

    /// Adds a signed integer, little end first.
    pub fn i64(&mut self, value: i64) {
        self.bytes(&value.to_le_bytes());
    }

    /// Adds an unsigned integer, little end first.
    pub fn u64(&mut self, value: u64) {
        self.bytes(&value.to_le_bytes());
    }

    /// Adds a wide integer, little end first.
    pub fn i128(&mut self, value: i128) {
        self.bytes(&value.to_le_bytes());
    }

    /// Adds text, its length first.
    pub fn text(&mut self, text: &str) {
        self.u64(text.len() as u64);
        self.bytes(text.as_bytes());
    }

    /// The digest of all that was added so far.
    pub fn finish(&self) -> Digest {
        Digest(self.linked())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn digest_of(pieces: &[Vec<u8>]) -> Digest {
        let mut writer = DigestWriter::new();
        pieces.iter().for_each(|piece| writer.bytes(piece));
        writer.finish()
    }

    proptest! {
        #[test]
        fn only_the_bytes_matter_not_their_pieces(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..70_000), 0..5),
        ) {
            let digest = digest_of(&pieces);
            prop_assert_eq!(digest, digest_of(&[pieces.concat()]));
            let mut other = pieces.concat();
            other.push(0);
            prop_assert_ne!(digest, digest_of(&[other]));
            prop_assert_eq!(Digest::try_from(digest.to_string()), Ok(digest));
        }
    }
}
