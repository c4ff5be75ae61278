//! What waits for one client. States take the place of older ones; other messages are bounded: a subscription whose
//! messages do not fit ends, and the client is told.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use bytestring::ByteString;
use tokio::sync::Notify;

use super::hub::{Sent, StreamKey};
use super::messages::{Channel, ServerMessage};

/// What waits for one client.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: Mutex<Waiting>,
    ready: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    /// In their order; a state's text is looked up when its turn comes.
    queue: VecDeque<Item>,
    states: HashMap<StreamKey, ByteString>,
    /// Subscriptions whose beginning is not sent yet: their messages are held back.
    held: HashMap<StreamKey, Vec<Sent>>,
    /// The last number that each subscription was given.
    given: HashMap<StreamKey, u64>,
}

#[derive(Debug)]
enum Item {
    Text(ByteString),
    State(StreamKey),
}

impl Outbox {
    /// Messages that may wait.
    const MAX: usize = 2000;

    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds the messages of a subscription back until it has begun.
    pub(super) fn hold(&self, channel: Channel, key: &str) {
        self.waiting().held.insert((channel, key.to_owned()), Vec::new());
    }

    /// Begins a subscription: this message first, then what was held back and comes behind `seq`.
    pub(super) fn begin(&self, channel: Channel, key: &str, seq: u64, first: ByteString) {
        let mut waiting = self.waiting();
        let stream = (channel, key.to_owned());
        waiting.queue.push_back(Item::Text(first));
        waiting.given.insert(stream.clone(), seq);
        for sent in waiting.held.remove(&stream).unwrap_or_default() {
            waiting.put(&stream, &sent);
        }
        drop(waiting);
        self.ready.notify_one();
    }

    /// The subscription is over: nothing of it is sent any more.
    pub(super) fn end(&self, channel: Channel, key: &str) {
        let mut waiting = self.waiting();
        let stream = (channel, key.to_owned());
        waiting.held.remove(&stream);
        waiting.given.remove(&stream);
        waiting.states.remove(&stream);
    }

    /// A message of a stream.
    pub(super) fn put(&self, channel: Channel, key: &str, sent: &Sent) {
        let stream = (channel, key.to_owned());
        let mut waiting = self.waiting();
        if let Some(held) = waiting.held.get_mut(&stream) {
            if channel.is_state() {
                held.clear();
            }
            if held.len() < Self::MAX {
                held.push(sent.clone());
            }
            return;
        }
        waiting.put(&stream, sent);
        drop(waiting);
        self.ready.notify_one();
    }

    /// A message that belongs to no stream.
    pub(super) fn say(&self, message: &ServerMessage<'_>) {
        let Ok(text) = serde_json::to_string(message) else { return };
        self.waiting().queue.push_back(Item::Text(text.into()));
        self.ready.notify_one();
    }

    /// Waits until there is something.
    pub(super) async fn ready(&self) {
        self.ready.notified().await;
    }

    /// The next message, if any.
    pub(super) fn take(&self) -> Option<ByteString> {
        let mut waiting = self.waiting();
        loop {
            match waiting.queue.pop_front()? {
                Item::Text(text) => return Some(text),
                // None where the subscription has ended meanwhile.
                Item::State(stream) => match waiting.states.remove(&stream) {
                    Some(text) => return Some(text),
                    None => continue,
                },
            }
        }
    }
}

impl Waiting {
    fn put(&mut self, stream: &StreamKey, sent: &Sent) {
        let Some(given) = self.given.get_mut(stream) else { return };
        if sent.seq <= *given {
            return;
        }
        if !stream.0.is_state() && self.queue.len() >= Outbox::MAX {
            let seq = *given;
            self.given.remove(stream);
            let message = ServerMessage::Lagged { channel: stream.0, key: &stream.1, seq };
            if let Ok(text) = serde_json::to_string(&message) {
                self.queue.push_back(Item::Text(text.into()));
            }
            return;
        }
        *given = sent.seq;
        if stream.0.is_state() {
            if self.states.insert(stream.clone(), sent.text.clone()).is_none() {
                self.queue.push_back(Item::State(stream.clone()));
            }
        } else {
            self.queue.push_back(Item::Text(sent.text.clone()));
        }
    }
}
