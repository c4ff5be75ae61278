//! One connection a key: Finnhub serves one socket for each API key, and drops **both** when a second one comes. Two
//! clients of this process with one key would so keep each other from working for ever; the second is refused instead.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use crate::secret::Secret;

/// The keys in use, with the server that each is used at.
static IN_USE: Mutex<BTreeSet<(String, String)>> = Mutex::new(BTreeSet::new());

/// The right to connect with a key. Given back when dropped.
#[derive(Debug)]
pub struct KeyLease {
    server: String,
    key: Secret,
}

/// Another client of this process has the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the Finnhub key is in use by another client of this process: Finnhub serves one connection a key and drops both \
     when a second one comes. Put all symbols on one feed, or give the second feed a key of its own"
)]
pub struct KeyInUse;

impl KeyLease {
    /// Takes the key for connections to `server`.
    ///
    /// # Errors
    /// When it is taken.
    pub fn take(server: &str, key: &Secret) -> Result<Self, KeyInUse> {
        let entry = (server.to_owned(), key.expose().to_owned());
        if !IN_USE.lock().unwrap_or_else(PoisonError::into_inner).insert(entry) {
            return Err(KeyInUse);
        }
        Ok(Self { server: server.to_owned(), key: key.clone() })
    }
}

impl Drop for KeyLease {
    fn drop(&mut self) {
        let entry = (std::mem::take(&mut self.server), self.key.expose().to_owned());
        IN_USE.lock().unwrap_or_else(PoisonError::into_inner).remove(&entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_given_once_and_comes_back() {
        let key = Secret::new("key-of-this-test");
        let lease = KeyLease::take("wss://a", &key).unwrap();
        let refused = KeyLease::take("wss://a", &key).unwrap_err();
        assert!(refused.to_string().contains("one connection a key"));
        assert!(KeyLease::take("wss://b", &key).is_ok(), "another server");
        assert!(KeyLease::take("wss://a", &Secret::new("other-key-of-this-test")).is_ok());
        assert!(!format!("{lease:?}").contains("key-of-this-test"));
        drop(lease);
        assert!(KeyLease::take("wss://a", &key).is_ok());
    }
}
