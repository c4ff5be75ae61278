//! Secrets that must be read again are sealed before they are kept: AES-256-GCM, each with a nonce of its own.
//!
//! What is sealed is bound to its place (table, row): in another row it does not open. A [`KeyRing`] has several keys while
//! one takes over from another: the first seals, all of them open.

use std::fmt;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, KeyInit, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use zeroize::{Zeroize, Zeroizing};

/// Bytes of a key.
const KEY: usize = 32;
/// Bytes of a nonce.
const NONCE: usize = 12;

/// Why a secret can't be sealed or opened, or there are no keys for it. No message holds a key or a secret.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// A file with keys.
    #[error("keys in {path}: {why}")]
    File {
        /// The file.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// Keys that can't be read.
    #[error("{0}")]
    Keys(String),
    /// There is no key at all.
    #[error("there is no key to seal secrets with: set key_file in [state], or TRADEFLOW_CREDENTIALS_KEY")]
    NoKey,
    /// It was sealed with another key.
    #[error("it is sealed with the key {0:?}, which is not among the keys of this node")]
    UnknownKey(String),
    /// It is not what was sealed, or it stood in another place.
    #[error("what is sealed does not open: it was changed, or moved from another row")]
    Broken,
}

/// A secret as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The key that opens it.
    pub key: String,
    /// Nonce, ciphertext and tag, in base64.
    pub text: String,
}

/// The keys: the first seals, all open.
#[derive(Clone, Default)]
pub struct KeyRing(Vec<(String, Aes256Gcm)>);

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.ids()).finish()
    }
}

impl KeyRing {
    /// Reads keys, each as `id:key` with the key as 32 bytes in base64, with line ends or commas between; lines that begin
    /// with `#` are remarks.
    ///
    /// # Errors
    /// [`SealError::Keys`] says which one is wrong, and never what it is.
    pub fn parse(text: &str) -> Result<Self, SealError> {
        let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
        let mut keys: Vec<(String, Aes256Gcm)> = Vec::new();
        for (number, entry) in lines
            .flat_map(|line| line.split(','))
            .map(str::trim)
            .filter(|entry| !entry.is_empty())
            .enumerate()
        {
            let wrong = |why: &str| SealError::Keys(format!("key {}: {why}", number + 1));
            let (id, key) = entry
                .split_once(':')
                .ok_or_else(|| wrong("is not id:key, such as 2026a: and 32 bytes in base64"))?;
            let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            if id.is_empty() || id.len() > 32 || !id.chars().all(fits) {
                return Err(wrong("its id takes 1 to 32 lower-case letters, digits and `-`"));
            }
            if keys.iter().any(|(known, _)| known == id) {
                return Err(wrong("its id is there twice"));
            }
            let bytes = BASE64.decode(key.trim()).map(Zeroizing::new);
            let bytes = bytes.map_err(|_| wrong("the key is no base64"))?;
            let cipher = Aes256Gcm::new_from_slice(&bytes)
                .map_err(|_| wrong(&format!("the key has {} bytes, not {KEY}", bytes.len())))?;
            keys.push((id.to_owned(), cipher));
        }
        if keys.is_empty() { Err(SealError::Keys("there is no key".to_owned())) } else { Ok(Self(keys)) }
    }

    /// The keys of a file.
    ///
    /// # Errors
    /// [`SealError::File`].
    pub fn read(path: &Path) -> Result<Self, SealError> {
        let text = std::fs::read_to_string(path).map(Zeroizing::new).map_err(|error| file(path, error))?;
        let mode = path.metadata().map_or(0, |metadata| metadata.permissions().mode());
        if mode & 0o077 != 0 {
            tracing::warn!(path = %path.display(), "others than its owner may read the keys: chmod 600");
        }
        Self::parse(&text).map_err(|error| file(path, error))
    }

    /// The keys of a file that is made, with one new key and for its owner alone, where there is none.
    ///
    /// # Errors
    /// [`SealError::File`].
    pub fn read_or_make(path: &Path) -> Result<Self, SealError> {
        if !path.exists() {
            write(path, &line(), false)?;
            tracing::info!(path = %path.display(), "a key to seal secrets with was made: keep a copy elsewhere");
        }
        Self::read(path)
    }

    /// Puts a new key before those of a file, for its owner alone. What is sealed with the others stays so until it is
    /// sealed anew.
    ///
    /// # Errors
    /// [`SealError::File`]; the file is as it was then.
    pub fn add_to(path: &Path) -> Result<Self, SealError> {
        let old = std::fs::read_to_string(path).map(Zeroizing::new).map_err(|error| file(path, error))?;
        Self::parse(&old).map_err(|error| file(path, error))?;
        write(path, &Zeroizing::new(format!("{}{}", *line(), *old)), true)?;
        Self::read(path)
    }

    /// The ids of the keys; the first seals.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(id, _)| id.as_str())
    }

    /// Seals a secret for this place.
    ///
    /// # Errors
    /// [`SealError::NoKey`].
    pub fn seal(&self, place: &[&str], secret: &[u8]) -> Result<Sealed, SealError> {
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce)
            .map_err(|error| SealError::Keys(format!("no random numbers: {error}")))?;
        self.seal_with(nonce, place, secret)
    }

    fn seal_with(&self, nonce: [u8; NONCE], place: &[&str], secret: &[u8]) -> Result<Sealed, SealError> {
        let (id, cipher) = self.0.first().ok_or(SealError::NoKey)?;
        let payload = Payload { msg: secret, aad: &bound(id, place) };
        let made = cipher.encrypt(&Nonce::from(nonce), payload).map_err(|_| SealError::Broken)?;
        Ok(Sealed { key: id.clone(), text: BASE64.encode([&nonce[..], &made].concat()) })
    }

    /// Opens what was sealed for this place.
    ///
    /// # Errors
    /// [`SealError::UnknownKey`], [`SealError::Broken`].
    pub fn open(&self, place: &[&str], sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let found = self.0.iter().find(|(id, _)| *id == sealed.key);
        let (id, cipher) = found.ok_or_else(|| SealError::UnknownKey(sealed.key.clone()))?;
        let bytes = BASE64.decode(&sealed.text).map_err(|_| SealError::Broken)?;
        let (nonce, msg) = bytes.split_first_chunk::<NONCE>().ok_or(SealError::Broken)?;
        let opened = cipher.decrypt(&Nonce::from(*nonce), Payload { msg, aad: &bound(id, place) });
        opened.map(Zeroizing::new).map_err(|_| SealError::Broken)
    }
}

/// What a secret is bound to: each part with its length before it, so that no two places are alike.
fn bound(key: &str, place: &[&str]) -> Vec<u8> {
    let parts = [key].into_iter().chain(place.iter().copied());
    parts.flat_map(|part| [&(part.len() as u64).to_le_bytes(), part.as_bytes()].concat()).collect()
}

/// A new key as it stands in a file.
fn line() -> Zeroizing<String> {
    let (mut key, mut id) = (Zeroizing::new([0; KEY]), [0; 4]);
    getrandom::fill(&mut *key).expect("the system gives random numbers");
    getrandom::fill(&mut id).expect("the system gives random numbers");
    let mut text = BASE64.encode(*key);
    let made = Zeroizing::new(format!("k{:08x}:{text}\n", u32::from_le_bytes(id)));
    text.zeroize();
    made
}

/// Writes keys for the file's owner alone: whole or not at all, and over what is there only where that is meant.
fn write(path: &Path, text: &str, replace: bool) -> Result<(), SealError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let beside = path.with_file_name(name);
    let written = (|| {
        let mut made =
            std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        made.write_all(text.as_bytes())?;
        made.sync_all()?;
        match replace {
            true => std::fs::rename(&beside, path),
            // Another process may have made one at the same moment: the first stays.
            false => std::fs::hard_link(&beside, path).or_else(|error| match error.kind() {
                std::io::ErrorKind::AlreadyExists => Ok(()),
                _ => Err(error),
            }),
        }?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        std::fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    })();
    let _ = std::fs::remove_file(&beside); // after a rename there is none
    written.map_err(|error: std::io::Error| file(path, error))
}

fn file(path: &Path, why: impl fmt::Display) -> SealError {
    SealError::File { path: path.display().to_string(), why: why.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: [&str; 4] = ["broker_credentials", "paper", "alpaca", "key"];

    fn ring(ids: &[&str]) -> KeyRing {
        let key = |id: &&str| format!("{id}:{}", BASE64.encode(blake3::hash(id.as_bytes()).as_bytes()));
        KeyRing::parse(&ids.iter().map(key).collect::<Vec<_>>().join(",")).unwrap()
    }

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    /// The cipher that the ring uses, on test cases 13 to 16 of the specification of GCM that was submitted to NIST.
    #[test]
    fn the_cipher_is_the_one_of_the_specification() {
        let zero = "00".repeat(32);
        let key = "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308";
        let text = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255";
        let made = "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad";
        let aad = "feedfacedeadbeeffeedfacedeadbeefabaddad2";
        for (key, nonce, text, aad, made, tag) in [
            (zero.as_str(), "000000000000000000000000", "", "", "", "530f8afbc74536b9a963b4f1c4cb738b"),
            (
                &zero,
                "000000000000000000000000",
                "00000000000000000000000000000000",
                "",
                "cea7403d4d606b6e074ec5d3baf39d18",
                "d0d1c8a799996bf0265b98b5d48ab919",
            ),
            (key, "cafebabefacedbaddecaf888", text, "", made, "b094dac5d93471bdec1a502270e3cc6c"),
            (
                key,
                "cafebabefacedbaddecaf888",
                &text[..120],
                aad,
                &made[..120],
                "76fc6ece0f4e1768cddf8853bb2d551b",
            ),
        ] {
            let cipher = Aes256Gcm::new_from_slice(&hex(key)).unwrap();
            let nonce: [u8; NONCE] = hex(nonce).try_into().unwrap();
            let payload = Payload { msg: &hex(text), aad: &hex(aad) };
            assert_eq!(cipher.encrypt(&Nonce::from(nonce), payload).unwrap(), hex(&format!("{made}{tag}")));
        }
    }

    #[test]
    fn what_is_sealed_opens_in_its_place_alone() {
        let ring = ring(&["b", "a"]);
        let sealed = ring.seal(&PLACE, b"secret").unwrap();
        assert_eq!(
            (sealed.key.as_str(), ring.open(&PLACE, &sealed).unwrap().as_slice()),
            ("b", &b"secret"[..])
        );
        assert_ne!(ring.seal(&PLACE, b"secret").unwrap(), sealed, "each has a nonce of its own");
        for place in [
            vec!["broker_credentials", "paper", "alpaca", "other"],
            vec!["broker_credentials", "other", "alpaca", "key"],
            vec!["broker_credentials", "paper", "alpaca"],
            vec!["broker_credentials", "paper", "alpacak", "ey"],
            vec!["broker_credentials", "paper", "alpaca", "key", ""],
            vec![],
        ] {
            assert!(matches!(ring.open(&place, &sealed), Err(SealError::Broken)), "{place:?}");
        }
        let other = Sealed { key: "a".to_owned(), ..sealed.clone() };
        assert!(matches!(ring.open(&PLACE, &other), Err(SealError::Broken)));
        let other = Sealed { key: "c".to_owned(), ..sealed };
        assert!(matches!(ring.open(&PLACE, &other), Err(SealError::UnknownKey(id)) if id == "c"));
    }

    #[test]
    fn a_change_of_any_bit_is_seen() {
        let ring = ring(&["a"]);
        let sealed = ring.seal(&PLACE, b"secret").unwrap();
        let bytes = BASE64.decode(&sealed.text).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let changed = Sealed { text: BASE64.encode(changed), ..sealed.clone() };
            assert!(matches!(ring.open(&PLACE, &changed), Err(SealError::Broken)), "bit {bit}");
        }
        for length in 0..bytes.len() {
            let short = Sealed { text: BASE64.encode(&bytes[..length]), ..sealed.clone() };
            assert!(matches!(ring.open(&PLACE, &short), Err(SealError::Broken)), "{length} bytes");
        }
        let none = Sealed { text: "no base64!".to_owned(), ..sealed };
        assert!(matches!(ring.open(&PLACE, &none), Err(SealError::Broken)));
    }

    #[test]
    fn keys_that_are_wrong_are_told_without_them() {
        let key = BASE64.encode([7; KEY]);
        for bad in [
            String::new(),
            "# a remark".to_owned(),
            key.clone(),
            format!(":{key}"),
            format!("A:{key}"),
            format!("a:{key}x"),
            format!("a:{}", BASE64.encode([7; 31])),
            format!("a:{key},a:{key}"),
        ] {
            let error = KeyRing::parse(&bad).unwrap_err().to_string();
            assert!(!error.contains(&key[..8]), "{error}");
        }
        assert!(matches!(KeyRing::default().seal(&PLACE, b""), Err(SealError::NoKey)));
        let shown = format!("{:?}", ring(&["b", "a"]));
        assert_eq!(shown, r#"["b", "a"]"#);
    }

    #[test]
    fn a_file_of_keys_is_made_once_for_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials.key");
        assert!(matches!(KeyRing::read(&path), Err(SealError::File { .. })));
        let made = KeyRing::read_or_make(&path).unwrap();
        let sealed = made.seal(&PLACE, b"secret").unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(KeyRing::read_or_make(&path).unwrap().open(&PLACE, &sealed).is_ok());
        let both = KeyRing::add_to(&path).unwrap();
        let ids: Vec<_> = both.ids().collect();
        assert_eq!((ids.len(), ids[1]), (2, sealed.key.as_str()));
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(both.open(&PLACE, &sealed).is_ok());
        assert_eq!(both.seal(&PLACE, b"secret").unwrap().key, ids[0]);
        std::fs::write(&path, "none").unwrap();
        assert!(KeyRing::read_or_make(&path).unwrap_err().to_string().contains("credentials.key"));
        assert_eq!(folder.path().read_dir().unwrap().count(), 1, "nothing is left beside it");
    }
}
