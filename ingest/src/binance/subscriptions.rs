//! What is subscribed on a connection, what should be, and the requests that lead from one to the other.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::json;
use tokio::time::Instant;

use crate::watchlist::Watchlist;

/// Streams in one request. Binance gives no limit, but a request of a few kilobytes is taken everywhere.
const BATCH: usize = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    Subscribe,
    Unsubscribe,
}

#[derive(Debug)]
struct Request {
    method: Method,
    streams: Vec<String>,
    sent: Instant,
}

/// The subscriptions of a client.
#[derive(Debug)]
pub(super) struct Subscriptions {
    /// Streams of a connection, at most.
    streams_max: usize,
    /// What should be subscribed, the most important first.
    wanted: Vec<String>,
    /// Symbols that are beyond the limit, in whole or in part.
    beyond: BTreeSet<String>,
    /// Streams that the vendor does not take. Asked for again on the next connection.
    refused: BTreeSet<String>,
    /// What was asked for on this connection.
    have: BTreeSet<String>,
    /// Parts of refused requests, asked for again by themselves to find out which stream is at fault.
    parts: VecDeque<Vec<String>>,
    /// Requests without an answer so far.
    waiting: BTreeMap<u64, Request>,
    next_id: u64,
    /// Whether there is something to ask for: known, as it is looked at with each burst.
    has_request: bool,
}

impl Subscriptions {
    pub(super) fn new(streams_max: usize) -> Self {
        Self {
            streams_max,
            wanted: Vec::new(),
            beyond: BTreeSet::new(),
            refused: BTreeSet::new(),
            have: BTreeSet::new(),
            parts: VecDeque::new(),
            waiting: BTreeMap::new(),
            next_id: 1,
            has_request: false,
        }
    }

    /// Takes what should be subscribed from now on.
    pub(super) fn want(&mut self, watchlist: &Watchlist) {
        self.wanted.clear();
        self.beyond.clear();
        for watch in &watchlist.watches {
            let symbol = watch.vendor_symbol.to_ascii_lowercase();
            for (name, is_wanted) in [("trade", watch.trades), ("bookTicker", watch.quotes)] {
                if !is_wanted {
                    continue;
                }
                if self.wanted.len() < self.streams_max {
                    self.wanted.push(format!("{symbol}@{name}"));
                } else {
                    self.beyond.insert(symbol.clone());
                }
            }
        }
        self.look();
    }

    /// Whether there is anything to subscribe.
    pub(super) fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    /// A new connection: nothing is subscribed on it.
    pub(super) fn begin(&mut self) {
        self.have.clear();
        self.refused.clear();
        self.parts.clear();
        self.waiting.clear();
        self.look();
    }

    /// The next request to send, as JSON; `None` when all that should be is subscribed or asked for.
    pub(super) fn next_request(&mut self, now: Instant) -> Option<String> {
        let step = self.next_step();
        self.look();
        let (method, streams) = step?;
        let id = self.next_id;
        self.next_id += 1;
        let name = match method {
            Method::Subscribe => "SUBSCRIBE",
            Method::Unsubscribe => "UNSUBSCRIBE",
        };
        let text = json!({ "method": name, "params": streams, "id": id }).to_string();
        self.waiting.insert(id, Request { method, streams, sent: now });
        Some(text)
    }

    /// Whether [`Self::next_request`] would give one.
    pub(super) fn has_request(&self) -> bool {
        self.has_request
    }

    /// Finds out whether there is something to ask for, after each change.
    fn look(&mut self) {
        self.has_request = !self.parts.is_empty()
            || self.wanted.iter().any(|stream| !self.have.contains(stream))
            || self.surplus().next().is_some();
    }

    fn surplus(&self) -> impl Iterator<Item = &String> {
        let wanted: BTreeSet<_> = self.wanted.iter().collect();
        self.have.iter().filter(move |stream| !wanted.contains(stream))
    }

    fn next_step(&mut self) -> Option<(Method, Vec<String>)> {
        // First of all room is made.
        let surplus: Vec<_> = self.surplus().take(BATCH).cloned().collect();
        if !surplus.is_empty() {
            self.have.retain(|stream| !surplus.contains(stream));
            return Some((Method::Unsubscribe, surplus));
        }
        while let Some(mut part) = self.parts.pop_front() {
            part.retain(|stream| self.have.contains(stream));
            if !part.is_empty() {
                return Some((Method::Subscribe, part));
            }
        }
        let missing = self.wanted.iter().filter(|stream| !self.have.contains(*stream));
        let missing: Vec<_> = missing.take(BATCH).cloned().collect();
        if missing.is_empty() {
            return None;
        }
        self.have.extend(missing.iter().cloned());
        Some((Method::Subscribe, missing))
    }

    /// Takes an answer. A request that was refused is asked again in halves, until the stream at fault stands alone:
    /// one wrong symbol must not cost the others. Gives the stream that is refused for good.
    pub(super) fn reply(&mut self, id: Option<u64>, is_error: bool) -> Option<String> {
        // Without a number it can only be the oldest that is meant.
        let id = id.or_else(|| self.waiting.keys().next().copied())?;
        let request = self.waiting.remove(&id)?;
        if !is_error || request.method == Method::Unsubscribe {
            return None;
        }
        let mut streams = request.streams;
        if streams.len() == 1 {
            let stream = streams.pop()?;
            self.refused.insert(stream.clone());
            return Some(stream);
        }
        let second = streams.split_off(streams.len() / 2);
        self.parts.extend([streams, second]);
        self.look();
        None
    }

    /// When the oldest request without an answer was sent.
    pub(super) fn waiting_since(&self) -> Option<Instant> {
        self.waiting.values().map(|request| request.sent).min()
    }

    /// Whether everything is asked for and answered.
    pub(super) fn is_settled(&self) -> bool {
        self.waiting.is_empty() && !self.has_request()
    }

    /// Symbols that are wanted and not served, because the vendor refused them or they are over its limit.
    pub(super) fn unserved(&self) -> u64 {
        let refused = self.wanted.iter().filter(|stream| self.refused.contains(*stream));
        let symbols = refused.filter_map(|stream| stream.split('@').next());
        symbols.chain(self.beyond.iter().map(String::as_str)).collect::<BTreeSet<_>>().len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watchlist::Watch;
    use tradeflow_model::{AssetClass, Currency, Instrument, Symbol};

    fn watchlist(symbols: &[&str]) -> Watchlist {
        let watch = |symbol: &&str| {
            let code = |text: &str| Currency::new(text).unwrap();
            let instrument = Instrument::new(
                Symbol::new(*symbol).unwrap(),
                AssetClass::CryptoSpot,
                code("X"),
                code("USD"),
                2,
                4,
            );
            Watch {
                instrument: instrument.unwrap(),
                vendor_symbol: (*symbol).into(),
                trades: true,
                quotes: true,
            }
        };
        Watchlist { watches: symbols.iter().map(watch).collect() }
    }

    /// Sends all requests to a server that refuses requests with a stream that begins with `BAD`.
    fn settle(subscriptions: &mut Subscriptions, served: &mut BTreeSet<String>) -> usize {
        let mut requests = 0;
        while let Some(text) = subscriptions.next_request(Instant::now()) {
            requests += 1;
            assert!(requests < 100, "{text}");
            let request: serde_json::Value = serde_json::from_str(&text).unwrap();
            let streams = request["params"].as_array().unwrap();
            let streams: Vec<_> = streams.iter().map(|stream| stream.as_str().unwrap().to_owned()).collect();
            let is_error = streams.iter().any(|stream| stream.starts_with("bad"));
            if !is_error && request["method"] == "SUBSCRIBE" {
                served.extend(streams);
            } else if !is_error {
                streams.iter().for_each(|stream| assert!(served.remove(stream), "{stream}"));
            }
            subscriptions.reply(request["id"].as_u64(), is_error);
        }
        assert!(subscriptions.is_settled());
        requests
    }

    #[test]
    fn the_difference_is_asked_for() {
        let (mut subscriptions, mut served) = (Subscriptions::new(1_024), BTreeSet::new());
        let names: Vec<_> = (0..120).map(|n| format!("S{n}")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        subscriptions.want(&watchlist(&names));
        assert_eq!(settle(&mut subscriptions, &mut served), 3);
        assert_eq!(served.len(), 240);
        subscriptions.want(&watchlist(&names[100..]));
        assert_eq!(settle(&mut subscriptions, &mut served), 2);
        assert_eq!(served.len(), 40);
        served.clear();
        subscriptions.begin();
        assert_eq!(settle(&mut subscriptions, &mut served), 1);
        assert_eq!(served.len(), 40);
    }

    #[test]
    fn one_wrong_symbol_does_not_cost_the_others() {
        let (mut subscriptions, mut served) = (Subscriptions::new(1_024), BTreeSet::new());
        subscriptions.want(&watchlist(&["A", "B", "C", "BAD", "D", "E", "F"]));
        settle(&mut subscriptions, &mut served);
        assert_eq!(served.len(), 12);
        assert_eq!(subscriptions.unserved(), 1);
    }

    #[test]
    fn the_most_important_are_kept_within_the_limit() {
        let (mut subscriptions, mut served) = (Subscriptions::new(5), BTreeSet::new());
        subscriptions.want(&watchlist(&["A", "B", "C", "D"]));
        settle(&mut subscriptions, &mut served);
        let names: Vec<_> = served.iter().map(String::as_str).collect();
        assert_eq!(names, ["a@bookTicker", "a@trade", "b@bookTicker", "b@trade", "c@trade"]);
        assert_eq!(subscriptions.unserved(), 2);
        subscriptions.want(&watchlist(&["D"]));
        settle(&mut subscriptions, &mut served);
        assert_eq!((served.len(), subscriptions.unserved()), (2, 0));
    }
}
