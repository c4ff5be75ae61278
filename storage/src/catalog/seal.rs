//! The seal of a file: a digest of all its bytes, kept in its own footer.
//!
//! The footer holds an entry `tradeflow.seal` of 64 hexadecimal digits: the BLAKE3 of the file with those digits as
//! zeros. Whoever reads the whole file checks it first, so that a damaged file is known before anything of it is
//! decoded, at the cost of hashing its compressed bytes.

use tradeflow_model::Digest;

/// Name of the entry. It is the last one, so that no text of the others can stand in for it.
pub(crate) const SEAL: &str = "tradeflow.seal";

/// What stands for the digits until they are known.
pub(crate) const BLANK: [u8; DIGITS] = [b'0'; DIGITS];
const DIGITS: usize = 64;

/// Why a file has no valid seal.
const NONE: &str = "has no seal: it was cut short, or was not written by TradeFlow (import it instead)";

/// Puts the seal of a file into its blank.
pub(crate) fn put(file: &mut [u8]) -> Result<(), &'static str> {
    let at = find(file).ok_or(NONE)?;
    let digits = digest(file, at).to_string();
    file[at..at + DIGITS].copy_from_slice(digits.as_bytes());
    Ok(())
}

/// Checks that a file is as it was sealed.
pub(crate) fn check(file: &[u8]) -> Result<(), &'static str> {
    let at = find(file).ok_or(NONE)?;
    if digest(file, at).to_string().as_bytes() != &file[at..at + DIGITS] {
        return Err("is damaged: its bytes do not have the digest that was recorded with them");
    }
    Ok(())
}

/// Where the digits are: in the footer, after the name, the header of a string field and its length.
fn find(file: &[u8]) -> Option<usize> {
    let (rest, magic) = file.split_last_chunk::<4>()?;
    let (rest, length) = rest.split_last_chunk::<4>()?;
    let start = rest.len().checked_sub(u32::from_le_bytes(*length) as usize)?;
    if magic != b"PAR1" {
        return None;
    }
    let name = SEAL.as_bytes();
    let footer = &rest[start..];
    let place = footer.windows(name.len()).rposition(|window| window == name)? + name.len();
    let value = footer.get(place..place + 2 + DIGITS)?;
    (value[..2] == [0x18, DIGITS as u8]).then_some(start + place + 2)
}

fn digest(file: &[u8], at: usize) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&file[..at]).update(&BLANK).update(&file[at + DIGITS..]);
    Digest::from_bytes(*hasher.finalize().as_bytes())
}
