//! Streams, who follows them, and the newest of each for those who come back.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytestring::ByteString;
use tradeflow_model::Timestamp;
use tradeflow_state::trading::FillRow;

use super::messages::{Channel, Data, ServerMessage};
use super::outbox::Outbox;

/// A stream's name.
pub(super) type StreamKey = (Channel, String);

/// A message of a stream.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) seq: u64,
    pub(super) text: ByteString,
}

#[derive(Debug, Default)]
struct Stream {
    followers: Vec<Arc<Outbox>>,
    /// The newest messages: of a state, the last one.
    newest: VecDeque<Sent>,
    /// Everything behind this number went through `newest`.
    base: Option<u64>,
}

/// Streams by name. What is published while no one follows costs a place among the newest.
#[derive(Debug, Default)]
pub struct Hub {
    streams: Mutex<HashMap<StreamKey, Stream>>,
    /// Subscriptions to states, which are looked at only while there are some.
    states: AtomicUsize,
    connections: AtomicUsize,
    /// The newest fills of all accounts, for alerts, and the number of the next.
    fills: Mutex<(VecDeque<Arc<FillRow>>, u64)>,
}

/// What a subscription begins with.
pub(super) enum Beginning {
    /// What was missed follows.
    Resumed,
    /// The state as it is; none before the first.
    State(Option<Sent>),
    /// All that was published behind `base` waits in the outbox; none where nothing was published yet.
    Followed { base: Option<u64>, last: u64 },
}

impl Hub {
    /// Messages of a stream that are kept for those who come back.
    const NEWEST_MAX: usize = 256;

    fn streams(&self) -> std::sync::MutexGuard<'_, HashMap<StreamKey, Stream>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fills that are kept for alerts.
    const FILLS_MAX: usize = 5000;

    fn fills(&self) -> std::sync::MutexGuard<'_, (VecDeque<Arc<FillRow>>, u64)> {
        self.fills.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A fill of any account.
    pub(super) fn filled(&self, fill: &FillRow) {
        let mut fills = self.fills();
        fills.0.push_back(Arc::new(fill.clone()));
        fills.1 += 1;
        if fills.0.len() > Self::FILLS_MAX {
            fills.0.pop_front();
        }
    }

    /// The fills from a number on, those that are still there, and the number of the next.
    pub(crate) fn fills_since(&self, number: u64) -> (u64, Vec<Arc<FillRow>>) {
        let fills = self.fills();
        let count = fills.1.saturating_sub(number).min(fills.0.len() as u64) as usize;
        (fills.1, fills.0.iter().skip(fills.0.len() - count).cloned().collect())
    }

    /// One more, unless there are so many.
    pub(super) fn connect(&self, max: usize) -> bool {
        self.connections
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| (count < max).then_some(count + 1))
            .is_ok()
    }

    pub(super) fn disconnect(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether someone follows a quote, a position or an account's worth.
    pub(super) fn has_watchers(&self) -> bool {
        self.states.load(Ordering::Relaxed) > 0
    }

    /// The keys of a channel that someone follows.
    pub(super) fn followed(&self, channel: Channel) -> Vec<String> {
        let streams = self.streams();
        #[allow(clippy::iter_over_hash_type, reason = "their order does not matter")]
        let keys = streams.iter().filter(|((of, _), stream)| *of == channel && !stream.followers.is_empty());
        keys.map(|((_, key), _)| key.clone()).collect()
    }

    /// Tells those who follow a stream that has no numbers of its own: milliseconds, so that they are greater than those before
    /// a restart.
    pub(crate) fn tell(&self, channel: Channel, key: &str, now: Timestamp, data: Data) {
        let millis = (now.as_nanos() / 1_000_000) as u64;
        let last = {
            let streams = self.streams();
            let stream = streams.get(&(channel, key.to_owned()));
            stream.and_then(|stream| stream.newest.back()).map_or(0, |last| last.seq)
        };
        self.publish(channel, key, millis.max(last + 1), data);
    }

    /// Tells those who follow a stream.
    pub(super) fn publish(&self, channel: Channel, key: &str, seq: u64, data: Data) {
        let message = ServerMessage::Update { channel, key, seq, data };
        let Ok(text) = serde_json::to_string(&message) else { return };
        let sent = Sent { seq, text: text.into() };
        let mut streams = self.streams();
        let stream = streams.entry((channel, key.to_owned())).or_default();
        // A bus that is read anew brings what was there.
        if stream.newest.back().is_some_and(|last| last.seq >= seq) {
            return;
        }
        let kept = if channel.is_state() { 1 } else { Self::NEWEST_MAX };
        stream.base.get_or_insert(seq.saturating_sub(1));
        stream.newest.push_back(sent.clone());
        while stream.newest.len() > kept {
            stream.base = stream.newest.pop_front().map(|old| old.seq);
        }
        for follower in &stream.followers {
            follower.put(channel, key, &sent);
        }
    }

    /// Begins a subscription: from now on the outbox gets what is published.
    pub(super) fn follow(
        &self,
        channel: Channel,
        key: &str,
        after: Option<u64>,
        outbox: &Arc<Outbox>,
    ) -> Beginning {
        let mut streams = self.streams();
        let stream = streams.entry((channel, key.to_owned())).or_default();
        if !stream.followers.iter().any(|other| Arc::ptr_eq(other, outbox)) {
            stream.followers.push(outbox.clone());
            if channel.is_state() {
                self.states.fetch_add(1, Ordering::Relaxed);
            }
        }
        if channel.is_state() {
            return Beginning::State(stream.newest.back().cloned());
        }
        let last = stream.newest.back().map(|sent| sent.seq).or(stream.base);
        let resumed = after.is_some_and(|after| {
            stream.base.is_some_and(|base| base <= after) && last.is_some_and(|last| after <= last)
        });
        for sent in &stream.newest {
            if !resumed || after.is_some_and(|after| sent.seq > after) {
                outbox.put(channel, key, sent);
            }
        }
        match resumed {
            true => Beginning::Resumed,
            false => Beginning::Followed { base: stream.base, last: last.unwrap_or(0) },
        }
    }

    /// Ends a subscription; whether there was one.
    pub(super) fn leave(&self, channel: Channel, key: &str, outbox: &Arc<Outbox>) -> bool {
        let mut streams = self.streams();
        let Some(stream) = streams.get_mut(&(channel, key.to_owned())) else { return false };
        let before = stream.followers.len();
        stream.followers.retain(|other| !Arc::ptr_eq(other, outbox));
        let left = stream.followers.len() < before;
        if left && channel.is_state() {
            self.states.fetch_sub(1, Ordering::Relaxed);
        }
        // A state that no one looks at gets old.
        if stream.followers.is_empty() && (channel.is_state() || stream.newest.is_empty()) {
            streams.remove(&(channel, key.to_owned()));
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::routes::positions::PositionLine;

    fn data() -> Data {
        Data::Positions { positions: Vec::<PositionLine>::new() }
    }

    /// Begins a subscription as a connection does, with tables that end at `tables`.
    fn follow(hub: &Hub, channel: Channel, after: Option<u64>, tables: u64, outbox: &Arc<Outbox>) -> u64 {
        outbox.hold(channel, "k");
        let seq = match hub.follow(channel, "k", after, outbox) {
            Beginning::Resumed => after.unwrap(),
            Beginning::State(last) => last.map_or(0, |last| last.seq),
            Beginning::Followed { base, .. } => {
                assert!(
                    base.is_none_or(|base| base <= tables),
                    "the tables reach to where the stream begins"
                );
                tables
            }
        };
        outbox.begin(channel, "k", seq, "begun".into());
        seq
    }

    fn numbers(outbox: &Outbox) -> Vec<u64> {
        let texts = std::iter::from_fn(|| outbox.take());
        texts
            .filter_map(|text| serde_json::from_str::<serde_json::Value>(&text).ok()?["seq"].as_u64())
            .collect()
    }

    #[test]
    fn a_subscription_misses_nothing_whenever_it_begins_and_comes_back() {
        for begins in 0..30_u64 {
            for leaves in begins..30 {
                let hub = Hub::default();
                let first = Arc::new(Outbox::default());
                let mut start = 0;
                for seq in 1..=40_u64 {
                    // Numbers have gaps: an account's are shared by two streams.
                    hub.publish(Channel::Orders, "k", seq * 3, data());
                    if seq == begins {
                        start = follow(&hub, Channel::Orders, None, seq * 3, &first);
                    }
                    if seq == leaves && begins > 0 {
                        assert!(hub.leave(Channel::Orders, "k", &first));
                    }
                }
                if begins == 0 {
                    continue;
                }
                let told = numbers(&first);
                let expected: Vec<u64> = (begins + 1..=leaves).map(|seq| seq * 3).collect();
                assert_eq!(told, expected, "began behind {start}, left at {leaves}");
                let again = Arc::new(Outbox::default());
                follow(&hub, Channel::Orders, Some(leaves * 3), 120, &again);
                let rest: Vec<u64> = (leaves + 1..=40).map(|seq| seq * 3).collect();
                assert_eq!(numbers(&again), rest, "came back behind {leaves}");
            }
        }
    }

    #[test]
    fn what_is_too_old_is_not_resumed() {
        let hub = Hub::default();
        for seq in 1..=Hub::NEWEST_MAX as u64 + 10 {
            hub.publish(Channel::Fills, "k", seq, data());
        }
        let outbox = Arc::new(Outbox::default());
        outbox.hold(Channel::Fills, "k");
        let resumed =
            |after| matches!(hub.follow(Channel::Fills, "k", Some(after), &outbox), Beginning::Resumed);
        assert!(!resumed(9), "the tenth is gone");
        assert!(resumed(10));
        assert!(resumed(Hub::NEWEST_MAX as u64 + 10), "nothing was missed");
        assert!(!resumed(Hub::NEWEST_MAX as u64 + 11), "of another life");
    }

    #[test]
    fn a_slow_client_is_told_where_it_was_left_and_costs_no_more() {
        let hub = Hub::default();
        let (slow, quick) = (Arc::new(Outbox::default()), Arc::new(Outbox::default()));
        follow(&hub, Channel::Orders, None, 0, &slow);
        follow(&hub, Channel::Orders, None, 0, &quick);
        follow(&hub, Channel::Equity, None, 0, &slow);
        let mut heard = Vec::new();
        for seq in 1..=10_000 {
            hub.publish(Channel::Orders, "k", seq, data());
            hub.publish(Channel::Equity, "k", seq, data());
            heard.extend(numbers(&quick));
        }
        assert_eq!(heard, (1..=10_000).collect::<Vec<u64>>(), "one client's slowness is not another's");
        let messages: Vec<serde_json::Value> =
            std::iter::from_fn(|| slow.take()).filter_map(|text| serde_json::from_str(&text).ok()).collect();
        assert!(messages.len() <= 2010, "{}", messages.len());
        let of = |channel: &str, kind: &str| -> Vec<u64> {
            let fits = messages.iter().filter(|m| m["channel"] == channel && m["type"] == kind);
            fits.filter_map(|m| m["seq"].as_u64()).collect()
        };
        let told = of("orders", "update");
        assert_eq!(told, (1..=told.len() as u64).collect::<Vec<_>>());
        assert_eq!(of("orders", "lagged"), [told.len() as u64], "told once, with the last that it got");
        assert_eq!(of("equity", "update"), [10_000], "of a state the newest");
        // It comes back behind what it got last, which is gone: it begins anew.
        let seq = follow(&hub, Channel::Orders, Some(told.len() as u64), 10_000, &slow);
        assert_eq!(seq, 10_000);
        hub.publish(Channel::Orders, "k", 10_001, data());
        assert_eq!(numbers(&slow), [10_001]);
    }

    #[test]
    fn many_threads_lose_and_double_nothing() {
        let hub = Hub::default();
        let outbox = Arc::new(Outbox::default());
        let told = std::thread::scope(|scope| {
            let publisher =
                scope.spawn(|| (1..=1500).for_each(|seq| hub.publish(Channel::Fills, "k", seq, data())));
            let mut told = BTreeSet::new();
            // It comes and goes, each time behind what it knows; what the ring has lost is in the tables.
            while told.last() != Some(&1500) {
                let known = told.last().copied().unwrap_or(0);
                outbox.hold(Channel::Fills, "k");
                match hub.follow(Channel::Fills, "k", Some(known), &outbox) {
                    Beginning::Resumed => outbox.begin(Channel::Fills, "k", known, "begun".into()),
                    Beginning::Followed { base, last } => {
                        let tables = last.max(base.unwrap_or(0));
                        told.extend(known + 1..=tables);
                        outbox.begin(Channel::Fills, "k", tables, "begun".into());
                    }
                    Beginning::State(_) => unreachable!("fills are no state"),
                }
                for seq in numbers(&outbox) {
                    assert!(told.insert(seq), "{seq} was told before");
                }
                hub.leave(Channel::Fills, "k", &outbox);
                outbox.end(Channel::Fills, "k");
                for seq in numbers(&outbox) {
                    assert!(told.insert(seq), "{seq} was told before");
                }
            }
            publisher.join().unwrap();
            told
        });
        assert_eq!(told, (1..=1500).collect());
    }
}
