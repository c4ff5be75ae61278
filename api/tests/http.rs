//! The real server, over a node that is what the test says.

mod kit;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use kit::{FakeNode, get, node, serve, serve_at};
use tradeflow_api::status::Status;
use tradeflow_api::{Health, HealthState, Server, ServerError};
use tradeflow_ingest::FeedState;

fn health(server: &Server) -> (u16, Health) {
    let (code, _, body) = get(server, "/health");
    (code, serde_json::from_str(&body).unwrap())
}

#[test]
fn a_node_that_is_well() {
    let node = Arc::new(node());
    let server = serve(&node);
    assert_eq!(health(&server), (200, Health { status: HealthState::Ok, reasons: vec![] }));
    assert_eq!(get(&server, "/ready").0, 200);
    assert_eq!(get(&server, "/nowhere").0, 404);
    server.server.stop();
}

/// Each thing that can be wrong, how it is made so, and what is then said.
#[test]
fn each_trouble_is_told_by_its_name() {
    type Break = fn(&FakeNode);
    let refused = |node: &FakeNode| {
        node.feeds[0].status.set_state(FeedState::Refused);
        node.feeds[0].status.set_error("the key is wrong");
    };
    let halt = |node: &FakeNode| node.view.lock().unwrap().cells[0].halted = Some("a fault".into());
    let quarantine = |node: &FakeNode| {
        let strategy = &mut node.view.lock().unwrap().cells[1].strategies[0];
        (strategy.running, strategy.failures, strategy.quarantined) = (false, 3, true);
    };
    let failing = |node: &FakeNode| {
        node.recorder.failing.store(true, Ordering::Relaxed);
        *node.recorder.last_error.lock().unwrap() = Some("no space left".into());
    };
    let first_connection = |node: &FakeNode| {
        node.feeds[1].status.set_state(FeedState::Connecting);
        node.feeds[1].status.connects.store(0, Ordering::Relaxed);
    };
    let cases: [(Break, &str); 11] = [
        (|node| node.feeds[1].status.set_state(FeedState::Silent), "feed finnhub is silent"),
        (refused, "feed binance is refused: the key is wrong"),
        (|node| node.feeds[1].status.set_state(FeedState::Connecting), "feed finnhub is reconnecting"),
        (first_connection, "feed finnhub is connecting"),
        (
            |node| node.feeds[0].counters.set_degraded(true),
            "the bus does not take what feed binance publishes",
        ),
        (halt, "cell beta is halted: a fault"),
        (quarantine, "strategy cross of alpha is quarantined after 3 failures"),
        (failing, "the recorder can't write: no space left"),
        (
            |node| node.recorder.lag_ns.store(301_000_000_000, Ordering::Relaxed),
            "the recorder is 301 s behind",
        ),
        (|node| node.bars.failing.store(true, Ordering::Relaxed), "bars can't be made"),
        (
            |node| node.uploads.failing.store(true, Ordering::Relaxed),
            "results are not in ClickHouse, 2 runs wait",
        ),
    ];
    for (break_it, reason) in cases {
        let node = Arc::new(node());
        let server = serve(&node);
        break_it(&node);
        let expected = Health { status: HealthState::Degraded, reasons: vec![reason.to_owned()] };
        assert_eq!(health(&server), (200, expected));
        assert_eq!(get(&server, "/ready").0, 200, "{reason}");
    }
}

#[test]
fn degraded_is_not_down() {
    let node = Arc::new(node());
    let server = serve(&node);
    node.view.lock().unwrap().cells.iter_mut().for_each(|cell| cell.halted = Some("a fault".into()));
    let (code, told) = health(&server);
    assert_eq!((code, told.status), (503, HealthState::Down));
    assert_eq!(told.reasons[0], "no cell runs: all are halted");
    assert_eq!(told.reasons.len(), 3, "{told:?}");

    node.view.lock().unwrap().cells.clear();
    assert_eq!(health(&server).1.reasons, ["no cell runs here: other nodes have the accounts"]);
    node.view.lock().unwrap().ready = false;
    assert_eq!(health(&server).1.reasons, ["no cell runs yet"]);
    let (code, _, body) = get(&server, "/ready");
    assert_eq!((code, body.as_str()), (503, "not ready: the cells are not up yet\n"));

    *node.failure.lock().unwrap() = Some("the disk is gone".into());
    let (code, told) = health(&server);
    assert_eq!((code, told.status), (503, HealthState::Down));
    assert_eq!(told.reasons[0], "the node has failed: the disk is gone");
    assert_eq!(get(&server, "/ready").2, "not ready: the disk is gone\n");
}

#[test]
fn the_status_shows_quotes_with_source_and_age_and_accounts_in_order() {
    let node = Arc::new(node());
    let server = serve(&node);
    let (code, head, body) = get(&server, "/api/v1/status");
    assert_eq!(code, 200);
    assert!(head.contains("content-type: application/json"), "{head}");
    let status: Status = serde_json::from_str(&body).unwrap();
    assert_eq!((status.session.as_str(), status.ready), ("20260203-1", true));
    assert_eq!(status.time, "2026-02-03T15:30:00Z");
    let quotes: Vec<_> = status.quotes.iter().map(|q| (q.symbol.as_str(), q.age_ms, q.stale)).collect();
    assert_eq!(quotes, [("BTCUSD", 1000, false), ("ETHUSD", 60_000, true)]);
    assert_eq!(status.quotes[0].bid.as_deref(), Some("39999.99"));
    assert_eq!(status.quotes[1].source, "binance");
    let accounts: Vec<_> = status.cells.iter().map(|cell| cell.account.as_str()).collect();
    assert_eq!(accounts, ["alpha", "beta"]);
    assert_eq!(status.cells[0].positions[0].qty, "1.5");
    assert_eq!((status.feeds[0].state.as_str(), status.feeds[0].age_ms), ("live", Some(250)));
    assert_eq!(status.recorder.as_ref().map(|recorder| recorder.lag_ms), Some(15_000));
    // What this program writes it reads, and it reads what a later one adds.
    let mut more: serde_json::Value = serde_json::from_str(&body).unwrap();
    more["cells"][0]["something_new"] = 1.into();
    assert_eq!(serde_json::from_value::<Status>(more).unwrap(), status);
}

#[test]
fn a_port_that_is_taken_is_named_and_free_again_after_the_end() {
    let node = Arc::new(node());
    let server = serve(&node);
    let address = server.address();
    let error = Server::bind(address).unwrap_err();
    assert!(matches!(&error, ServerError::Listen { .. }), "{error:?}");
    assert!(error.to_string().contains(&address.to_string()), "{error}");
    assert_eq!(get(&server, "/health").0, 200, "the first is not disturbed");
    server.server.stop();
    let again = serve_at(address, &node);
    assert_eq!(get(&again, "/health").0, 200);
}
