//! The contract of every actor.

use tradeflow_model::{Digest, DigestWriter, Timestamp};

/// A pure state machine: what it does depends on its state, the time it is told and its input, and on nothing else
/// (invariant I2). Whoever gives two actors the same inputs gets the same outputs (I3).
pub trait Actor {
    /// What it takes.
    type Input<'a>;
    /// What it puts out.
    type Output;

    /// Takes one input at time `now`.
    ///
    /// # Errors
    /// A [`Fault`] is a broken invariant, never a market event: the actor must not be used any more.
    fn handle(
        &mut self,
        now: Timestamp,
        input: Self::Input<'_>,
        out: &mut Outbox<Self::Output>,
    ) -> Result<(), Fault>;

    /// All of its state, as bytes.
    ///
    /// # Errors
    /// When the state can't be written.
    fn snapshot(&self) -> Result<Vec<u8>, Fault>;

    /// Goes back to the state of a snapshot taken from an actor that was built alike.
    ///
    /// # Errors
    /// When the bytes are not such a snapshot; the actor is then unchanged.
    fn restore(&mut self, snapshot: &[u8]) -> Result<(), Fault>;

    /// Digest of the state.
    ///
    /// # Errors
    /// As [`Self::snapshot`].
    fn digest(&self) -> Result<Digest, Fault> {
        Ok(Digest::of(&self.snapshot()?))
    }
}

/// Puts a digest before the bytes of a snapshot: of `fingerprint`, which stands for what the actor was built from, and
/// the bytes. A snapshot that is damaged, or of another actor, is so refused before anything is read from it.
pub(crate) fn seal(fingerprint: &Digest, state: &[u8]) -> Vec<u8> {
    [&sealed(fingerprint, state).as_bytes()[..], state].concat()
}

/// The bytes of a sealed snapshot.
pub(crate) fn unseal<'a>(fingerprint: &Digest, snapshot: &'a [u8]) -> Result<&'a [u8], Fault> {
    let refuse = || Fault::new("snapshot: the bytes are damaged, or of an actor that was built otherwise");
    let (digest, state) = snapshot.split_first_chunk().ok_or_else(refuse)?;
    if Digest::from_bytes(*digest) != sealed(fingerprint, state) {
        return Err(refuse());
    }
    Ok(state)
}

fn sealed(fingerprint: &Digest, state: &[u8]) -> Digest {
    let mut writer = DigestWriter::new();
    writer.bytes(fingerprint.as_bytes());
    writer.bytes(state);
    writer.finish()
}

/// A broken invariant: what, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Fault(pub String);

impl Fault {
    /// A fault in words.
    pub fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

impl From<tradeflow_model::ValueError> for Fault {
    fn from(error: tradeflow_model::ValueError) -> Self {
        Self(error.to_string())
    }
}

impl From<tradeflow_model::order::TransitionError> for Fault {
    fn from(error: tradeflow_model::order::TransitionError) -> Self {
        Self(error.to_string())
    }
}

impl From<postcard::Error> for Fault {
    fn from(error: postcard::Error) -> Self {
        Self(format!("snapshot: {error}"))
    }
}

/// Where an actor puts its outputs. Bounded (invariant I6): an input that causes more outputs than the limit is a
/// fault of the actor, found at once instead of when memory runs out.
#[derive(Debug)]
pub struct Outbox<T> {
    items: std::collections::VecDeque<T>,
    limit: usize,
}

impl<T> Default for Outbox<T> {
    fn default() -> Self {
        Self { items: std::collections::VecDeque::new(), limit: Self::LIMIT }
    }
}

impl<T> Outbox<T> {
    /// The most that waits in an outbox.
    pub const LIMIT: usize = 65_536;

    /// Puts an output behind the others.
    ///
    /// # Errors
    /// When the outbox is full.
    #[inline]
    pub fn push(&mut self, item: T) -> Result<(), Fault> {
        if self.items.len() >= self.limit {
            return Err(Fault(format!("an actor put out more than {} messages for one input", self.limit)));
        }
        self.items.push_back(item);
        Ok(())
    }

    /// Takes the oldest output.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        self.items.pop_front()
    }

    /// Whether nothing waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// How many wait.
    #[inline]
    pub fn len(&self) -> usize {
        self.items.len()
    }
}
