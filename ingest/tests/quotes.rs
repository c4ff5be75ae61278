//! The quote board: which source is shown, and how far it can be relied on.

mod support;

use std::sync::Arc;

use support::{coin, decimal, symbol};
use tradeflow_ingest::quotes::{
    BoardSource, Freshness, MarketClock, Post, QuoteBoard, Ranking, SharedQuote, SourceSpec,
};
use tradeflow_ingest::{FeedState, FeedStatus};
use tradeflow_model::time::NANOS_PER_SEC;
use tradeflow_model::{AssetClass, Currency, Instrument, Price, Timestamp};

struct It {
    board: Arc<QuoteBoard>,
    instrument: Arc<Instrument>,
    socket: BoardSource,
    rest: BoardSource,
    yahoo: BoardSource,
    status: Arc<FeedStatus>,
    /// Seconds are counted from here.
    start: Timestamp,
}

fn it(instrument: Instrument, start: &str) -> It {
    let status = Arc::<FeedStatus>::default();
    status.set_state(FeedState::Live);
    let spec = |name: &str, seconds: i64, status| SourceSpec {
        name: name.into(),
        stale_after: seconds * NANOS_PER_SEC,
        status,
    };
    let sources =
        vec![spec("socket", 5, Some(status.clone())), spec("rest", 20, None), spec("yahoo", 60, None)];
    let board = QuoteBoard::new(Ranking::new(sources));
    let source = |name| board.source(name).unwrap();
    It {
        socket: source("socket"),
        rest: source("rest"),
        yahoo: source("yahoo"),
        instrument: Arc::new(instrument),
        start: start.parse().unwrap(),
        status,
        board,
    }
}

impl It {
    fn at(&self, seconds: i64) -> Timestamp {
        self.start.saturating_add(seconds * NANOS_PER_SEC)
    }

    fn last(&self, source: &BoardSource, at: i64, price: i64) {
        let last = Some((self.at(at), Price::from_raw(price)));
        source.post([Post { instrument: self.instrument.clone(), received: self.at(at), quote: None, last }]);
    }

    fn quote(&self, source: &BoardSource, at: i64, bid: i64, ask: i64) {
        let quote = Some((self.at(at), Price::from_raw(bid), Price::from_raw(ask)));
        source.post([Post { instrument: self.instrument.clone(), received: self.at(at), quote, last: None }]);
    }

    /// Source, age in seconds, freshness.
    fn shown(&self, at: i64) -> (String, i64, Freshness) {
        let quote = self.board.get(&self.instrument.symbol, self.at(at)).unwrap();
        assert_eq!(quote.stale, quote.freshness == Freshness::Stale);
        assert_eq!(quote.may_fill(), quote.freshness == Freshness::Live);
        (quote.source, quote.age / NANOS_PER_SEC, quote.freshness)
    }
}

fn share() -> Instrument {
    let currency = |name| Currency::new(name).unwrap();
    Instrument::new(symbol("AAPL"), AssetClass::Equity, currency("AAPL"), currency("USD"), 2, 0).unwrap()
}

#[test]
fn the_best_live_source_is_shown_with_fail_over_and_slow_fail_back() {
    use Freshness::{Live, Stale};
    let it = it(coin("BTCUSD", 2, 2), "2024-08-08T12:00:00Z");
    assert!(it.board.get(&symbol("BTCUSD"), it.at(0)).is_none());
    it.last(&it.yahoo, 0, 100);
    assert_eq!(it.shown(0), ("yahoo".into(), 0, Live));
    it.last(&it.socket, 1, 101);
    assert_eq!(it.shown(1), ("yahoo".into(), 1, Live), "the better one has not served for long enough");
    for at in 2..=12 {
        it.last(&it.socket, at, 101);
        assert_eq!(it.shown(at).0, if at < 11 { "yahoo" } else { "socket" }, "at {at}");
    }
    it.last(&it.rest, 13, 102);
    assert_eq!(it.shown(17), ("socket".into(), 5, Live));
    assert_eq!(it.shown(18), ("rest".into(), 5, Live), "at once");
    it.last(&it.socket, 19, 103);
    assert_eq!(it.shown(19).0, "rest", "fail-back waits");
    it.last(&it.socket, 30, 104);
    assert_eq!(it.shown(30).0, "rest", "there was a gap");
    it.last(&it.socket, 34, 105);
    assert_eq!(it.shown(34), ("socket".into(), 0, Live), "REST serves no more");
    assert_eq!(it.shown(60), ("yahoo".into(), 60, Live), "the last that serves");
    assert_eq!(it.shown(61), ("socket".into(), 27, Stale), "none serves: the newest");
    assert_eq!(it.board.switches(), 5);
}

#[test]
fn a_connection_that_is_gone_serves_no_more() {
    let it = it(coin("BTCUSD", 2, 2), "2024-08-08T12:00:00Z");
    it.last(&it.socket, 0, 100);
    it.last(&it.rest, 0, 100);
    assert_eq!(it.shown(1).0, "socket");
    it.status.set_state(FeedState::Connecting);
    assert_eq!(it.shown(1).0, "rest");
    it.status.set_state(FeedState::Live);
    it.last(&it.socket, 3, 100);
    assert_eq!(it.shown(3).0, "rest", "fail-back waits");
    for at in 4..=13 {
        it.last(&it.socket, at, 100);
    }
    assert_eq!(it.shown(13).0, "socket");
}

#[test]
fn delayed_quotes_are_stale_by_the_vendors_time() {
    let it = it(coin("BTCUSD", 2, 2), "2024-08-08T12:00:00Z");
    let last = Some((it.at(-900), Price::from_raw(100)));
    it.yahoo.post([Post { instrument: it.instrument.clone(), received: it.at(0), quote: None, last }]);
    assert_eq!(it.shown(0), ("yahoo".into(), 900, Freshness::Stale));
    it.last(&it.yahoo, -1_000, 99);
    assert_eq!(it.shown(0).1, 900, "older than what stands there");
}

#[test]
fn bid_and_ask_grow_stale_beside_a_fresh_price() {
    let it = it(coin("BTCUSD", 2, 2), "2024-08-08T12:00:00Z");
    it.quote(&it.socket, 0, 99, 101);
    it.last(&it.socket, 4, 100);
    let quote = it.board.get(&symbol("BTCUSD"), it.at(4)).unwrap();
    assert_eq!(
        (quote.bid, quote.ask, quote.last),
        (Some(decimal("0.99")), Some(decimal("1.01")), Some(decimal("1.00")))
    );
    let quote = it.board.get(&symbol("BTCUSD"), it.at(6)).unwrap();
    assert_eq!((quote.bid, quote.ask, quote.last, quote.stale), (None, None, Some(decimal("1.00")), false));
    let quote = it.board.get(&symbol("BTCUSD"), it.at(60)).unwrap();
    assert_eq!((quote.bid, quote.stale), (Some(decimal("0.99")), true), "stale as it is, it is shown whole");
}

#[test]
fn a_closed_markets_last_quote_is_closed_not_stale() {
    use Freshness::{Closed, Live, Stale};
    // Thursday 2024-08-08, New York: closes at 20:00 UTC, opens again at 13:30.
    let it = it(share(), "2024-08-08T20:00:00Z");
    it.last(&it.socket, -3, 21_300);
    assert_eq!(it.shown(-1), ("socket".into(), 2, Live));
    assert_eq!(it.shown(0).2, Closed);
    it.status.set_state(FeedState::Silent);
    assert_eq!(
        it.shown(12 * 3_600),
        ("socket".into(), 12 * 3_600 + 3, Closed),
        "silence is nothing unusual then"
    );
    it.status.set_state(FeedState::Live);
    let open = 17 * 3_600 + 1_800;
    assert_eq!(it.shown(open - 1).2, Closed);
    assert_eq!(it.shown(open).2, Stale);
    it.last(&it.socket, open + 1, 21_400);
    assert_eq!(it.shown(open + 1), ("socket".into(), 0, Live));
    // What was stale at the close stays stale.
    let close = 24 * 3_600;
    assert_eq!(it.shown(close + 60).2, Stale);
}

#[test]
fn instruments_are_listed_taken_down_and_begun_anew() {
    let it = it(coin("BTCUSD", 2, 2), "2024-08-08T12:00:00Z");
    it.last(&it.socket, 0, 100);
    let instrument = Arc::new(coin("ADAUSD", 4, 2));
    let last = Some((it.at(0), Price::from_raw(100)));
    it.socket.post([Post { instrument, received: it.at(0), quote: None, last }]);
    let all = |it: &It| -> Vec<_> {
        it.board
            .all(it.at(0))
            .into_iter()
            .map(|quote| (quote.symbol.to_string(), quote.last.unwrap()))
            .collect()
    };
    assert_eq!(all(&it), [("ADAUSD".into(), decimal("0.01")), ("BTCUSD".into(), decimal("1"))]);
    let rescaled = Arc::new(coin("BTCUSD", 1, 2));
    it.rest.post([Post { instrument: rescaled, received: it.at(0), quote: None, last }]);
    assert_eq!(all(&it)[1].1, decimal("10"));
    it.board.retain(|symbol| symbol.as_str() == "BTCUSD");
    assert_eq!(all(&it).len(), 1);
    assert!(it.board.source("nobody").is_none());
}

/// What one node shows now, another shows at any later time as the first one would, had nothing come since.
#[test]
fn what_is_shared_ages_as_what_stays() {
    // Thursday 2024-08-08, New York: closes at 20:00 UTC, opens again at 13:30.
    let it = it(share(), "2024-08-08T20:00:00Z");
    assert_eq!(it.board.shared(it.at(-10)), []);
    it.quote(&it.socket, -10, 21_299, 21_301);
    it.last(&it.socket, -3, 21_300);
    let bytes = serde_json::to_vec(&it.board.shared(it.at(-3))).unwrap();
    let shared: Vec<SharedQuote> = serde_json::from_slice(&bytes).unwrap();
    let mut clock = MarketClock::new(it.instrument.calendar);
    let mut seen = Vec::new();
    for at in [-3, -1, 0, 3_600, 12 * 3_600, 17 * 3_600 + 1_799, 17 * 3_600 + 1_800, 24 * 3_600, -2] {
        let elsewhere = shared[0].at(&mut clock, it.at(at));
        assert_eq!(elsewhere, it.board.get(&symbol("AAPL"), it.at(at)), "at {at}");
        seen.extend(elsewhere.map(|quote| quote.freshness));
    }
    use Freshness::{Closed, Live, Stale};
    assert_eq!(seen, [Live, Live, Closed, Closed, Closed, Closed, Stale, Stale, Live]);
    // What is shared says nothing of its age: it is the same until something comes.
    assert_eq!(it.board.shared(it.at(3_600)), shared);
    it.last(&it.socket, -2, 21_305);
    assert_ne!(it.board.shared(it.at(3_600)), shared);
}
