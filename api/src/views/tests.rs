//! Nodes that tell each other over a bus in memory, in any order of what can happen.

use proptest::prelude::*;
use rust_decimal::Decimal;
use tradeflow_bus::Durability;
use tradeflow_ingest::quotes::{BoardQuote, Freshness, LastPrice, SharedQuote};
use tradeflow_live::SessionPlan;
use tradeflow_live::node::CellView;
use tradeflow_model::instrument::AssetClass;
use tradeflow_model::plan::{CellPlan, RunPlan, VenueSpec};
use tradeflow_model::{AccountId, AccountKind, AccountSpec, Currency, Instrument, Symbol, Timestamp};

use super::heard::{Heard, better};
use super::record::ViewRecord;
use super::told::Teller;

const SECOND: i64 = 1_000_000_000;
const ACCOUNTS: [&str; 3] = ["a", "b", "c"];

fn at(nanos: i64) -> Timestamp {
    Timestamp::from_nanos(1_770_000_000 * SECOND + nanos)
}

fn plan() -> SessionPlan {
    let currency = |name| Currency::new(name).unwrap();
    let cell = |name: &&str| CellPlan {
        account: AccountSpec {
            id: AccountId::new(*name).unwrap(),
            kind: AccountKind::Cash,
            currency: currency("USD"),
            balance: Decimal::from(1000),
        },
        strategies: Vec::new(),
        risk: Default::default(),
        venue: VenueSpec::default(),
        equity_interval_ns: 60 * SECOND,
        containment: None,
    };
    let symbol = Symbol::new("BTCUSD").unwrap();
    let coin = Instrument::new(symbol, AssetClass::CryptoSpot, currency("BTC"), currency("USD"), 2, 5);
    let run = RunPlan {
        instruments: vec![coin.unwrap()],
        series: Vec::new(),
        from: at(0),
        to: Timestamp::MAX,
        batch_rows: 4096,
        window_batches: 4,
        seed: 1,
        cells: ACCOUNTS.iter().map(cell).collect(),
    };
    SessionPlan::new(run, vec![Default::default(); ACCOUNTS.len()], Durability::Process, at(0))
}

fn cell(account: &str, seq: u64) -> CellView {
    let currency = "USD".to_owned();
    CellView { account: account.into(), currency, equity: seq.to_string(), seq, ..CellView::default() }
}

fn quote(ts: i64, price: i64) -> SharedQuote {
    SharedQuote {
        symbol: Symbol::new("BTCUSD").unwrap(),
        source: "binance".into(),
        stale_after: 10 * SECOND,
        quote: None,
        last: Some(LastPrice { ts: at(ts), price: Decimal::new(price, 2) }),
    }
}

/// What a node has told goes through the bytes of its records.
fn hear(heard: &Heard, plan: &SessionPlan, due: &[(String, Option<ViewRecord>)]) {
    for (key, record) in due {
        match record {
            Some(record) => heard.take(ViewRecord::decode(&record.encode()).unwrap(), plan),
            None => heard.forget(key),
        }
    }
}

fn keys(due: &[(String, Option<ViewRecord>)]) -> Vec<&str> {
    due.iter().map(|(key, _)| key.as_str()).collect()
}

#[test]
fn what_changed_is_told_at_once_and_what_did_not_now_and_then() {
    let (plan, mut teller) = (plan(), Teller::new("n".into()));
    let mut due = |cells: &[CellView], quotes: &[SharedQuote], now| {
        let due = teller.due((cells.to_vec(), quotes.to_vec()), &plan, at(now));
        keys(&due).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let (a, b) = (cell("a", 1), cell("b", 1));
    assert_eq!(due(&[a.clone(), b.clone()], &[quote(0, 100)], 0), ["account/a", "account/b", "quote/BTCUSD"]);
    assert!(due(&[a.clone(), b.clone()], &[quote(0, 100)], SECOND).is_empty());
    // Ticks alone are no news of an account; a price is, of the quote.
    let ticked = CellView { events: 9, seq: 7, ts: 3, pending: 2, ..a.clone() };
    assert_eq!(due(&[ticked, b.clone()], &[quote(1, 100)], 2 * SECOND), ["quote/BTCUSD"]);
    let paused = CellView { open_orders: 1, ..a };
    assert_eq!(due(&[paused.clone(), b.clone()], &[quote(1, 100)], 3 * SECOND), ["account/a"]);
    assert_eq!(due(&[paused, b], &[quote(1, 100)], 5 * SECOND), ["account/b"], "it lives, and says so");
}

#[test]
fn a_closed_account_is_deleted_and_does_not_come_back() {
    let (mut plan, mut teller, heard) = (plan(), Teller::new("n".into()), Heard::default());
    let told = teller.due((vec![cell("a", 1), cell("b", 1)], Vec::new()), &plan, at(0));
    hear(&heard, &plan, &told);
    assert_eq!(heard.cell("b", &plan).unwrap().as_of, at(0));
    // One that has gone to another node is not deleted.
    let gone = teller.due((vec![cell("b", 1)], Vec::new()), &plan, at(1));
    assert!(gone.is_empty() && heard.cell("a", &plan).is_some());
    plan.accounts[1].closed = Some(at(2));
    assert!(heard.cell("b", &plan).is_none(), "not even before its node has deleted it");
    let deleted = teller.due((Vec::new(), Vec::new()), &plan, at(2));
    assert_eq!(deleted, [("account/b".to_owned(), None)]);
    hear(&heard, &plan, &deleted);
    hear(&heard, &plan, &told[1..]);
    assert!(heard.cell("b", &plan).is_none() && heard.others(&[], &plan).len() == 1);
}

#[test]
fn of_another_session_or_instrument_nothing_is_taken() {
    let (plan, heard) = (plan(), Heard::default());
    let other = SessionPlan { id: "another".into(), ..plan.clone() };
    let mut teller = Teller::new("n".into());
    hear(&heard, &plan, &teller.due((vec![cell("a", 1)], vec![quote(0, 100)]), &other, at(0)));
    assert!(heard.others(&[], &plan).is_empty() && heard.quotes(at(0)).is_empty());
    let mut teller = Teller::new("m".into());
    let foreign = SharedQuote { symbol: Symbol::new("ETHUSD").unwrap(), ..quote(0, 100) };
    hear(&heard, &plan, &teller.due((Vec::new(), vec![foreign, quote(0, 100)]), &plan, at(0)));
    assert_eq!(heard.quotes(at(0)).len(), 1);
    let stranger = teller.due((vec![cell("z", 1)], Vec::new()), &plan, at(0));
    hear(&heard, &plan, &stranger);
    assert!(heard.cell("z", &plan).is_none());
}

#[test]
fn a_quote_that_no_one_tells_any_more_becomes_stale() {
    let (plan, heard, mut teller) = (plan(), Heard::default(), Teller::new("n".into()));
    hear(&heard, &plan, &teller.due((Vec::new(), vec![quote(0, 4_000_050)]), &plan, at(0)));
    let shown = |now: i64| heard.quote(&Symbol::new("BTCUSD").unwrap(), at(now)).unwrap();
    assert_eq!(shown(4 * SECOND).last.unwrap().to_string(), "40000.50");
    assert_eq!((shown(4 * SECOND).age, shown(10 * SECOND).stale), (4 * SECOND, false));
    assert_eq!((shown(11 * SECOND).age, shown(11 * SECOND).stale), (11 * SECOND, true));
}

fn shown(source: &str, ts: i64, stale: bool) -> BoardQuote {
    BoardQuote {
        symbol: Symbol::new("BTCUSD").unwrap(),
        bid: None,
        ask: None,
        last: Some(Decimal::ONE),
        source: source.into(),
        ts_event: at(ts),
        age: 0,
        freshness: if stale { Freshness::Stale } else { Freshness::Live },
        stale,
    }
}

#[test]
fn of_two_quotes_the_one_to_be_relied_on_is_shown() {
    let source = |here: Option<(i64, bool)>, heard: Option<(i64, bool)>, feeds_run_here| {
        let here = here.map(|(ts, stale)| shown("here", ts, stale));
        let heard = heard.map(|(ts, stale)| shown("heard", ts, stale));
        better(here, heard, feeds_run_here).map(|quote| quote.source).unwrap_or_default()
    };
    for feeds_run_here in [true, false] {
        assert_eq!(source(None, None, feeds_run_here), "");
        assert_eq!(source(Some((1, true)), None, feeds_run_here), "here");
        assert_eq!(source(None, Some((1, true)), feeds_run_here), "heard");
        assert_eq!(source(Some((1, false)), Some((2, true)), feeds_run_here), "here");
        assert_eq!(source(Some((2, true)), Some((1, false)), feeds_run_here), "heard");
        assert_eq!(
            source(Some((1, true)), Some((2, true)), feeds_run_here),
            "heard",
            "both stale: the newer"
        );
        assert_eq!(source(Some((2, true)), Some((2, true)), feeds_run_here), "here");
    }
    assert_eq!(source(Some((1, false)), Some((2, false)), true), "here");
    assert_eq!(source(Some((1, false)), Some((2, false)), false), "heard");
}

/// What happens to a cell and to what its nodes say of it.
#[derive(Debug, Clone)]
enum Step {
    /// The cell of an account takes more, on the node that has it.
    Trade(usize),
    /// An account goes to a node.
    Move(usize, usize),
    /// A node is cut off: it does not notice that its accounts go, until it is back.
    Cut(usize),
    Back(usize),
    /// A node looks, and tells what is due.
    Tell(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3_usize).prop_map(Step::Trade),
        2 => (0..3_usize, 0..3_usize).prop_map(|(account, node)| Step::Move(account, node)),
        1 => (0..3_usize).prop_map(Step::Cut),
        2 => (0..3_usize).prop_map(Step::Back),
        6 => (0..3_usize).prop_map(Step::Tell),
    ]
}

/// Three nodes, one log.
struct Nodes {
    plan: SessionPlan,
    tellers: Vec<Teller>,
    heard: Vec<Heard>,
    /// By node: its cells, as it knows them.
    here: Vec<Vec<CellView>>,
    cut: [bool; 3],
    /// By account: its node, and its truth.
    owner: [usize; 3],
    truth: [u64; 3],
    log: Vec<(String, Option<ViewRecord>)>,
    read: [usize; 3],
    now: i64,
}

impl Nodes {
    fn new() -> Self {
        let mut nodes = Self {
            plan: plan(),
            tellers: (0..3).map(|node| Teller::new(node.to_string())).collect(),
            heard: (0..3).map(|_| Heard::default()).collect(),
            here: vec![Vec::new(); 3],
            cut: [false; 3],
            owner: [0, 1, 2],
            truth: [1; 3],
            log: Vec::new(),
            read: [0; 3],
            now: 0,
        };
        (0..3).for_each(|node| nodes.look(node));
        nodes
    }

    /// A node sees what it has, unless it is cut off.
    fn look(&mut self, node: usize) {
        if !self.cut[node] {
            let mine = (0..3).filter(|account| self.owner[*account] == node);
            self.here[node] = mine.map(|account| cell(ACCOUNTS[account], self.truth[account])).collect();
        }
    }

    fn tell(&mut self, node: usize) {
        // Less in all than after which it tells without news.
        self.now += SECOND / 100;
        let due = self.tellers[node].due((self.here[node].clone(), Vec::new()), &self.plan, at(self.now));
        self.log.extend(due);
    }

    fn hear(&mut self, node: usize) {
        for (key, record) in &self.log[self.read[node]..] {
            if record.as_ref().is_some_and(|record| record.node != node.to_string()) {
                self.tellers[node].answer(key);
            }
        }
        hear(&self.heard[node], &self.plan, &self.log[self.read[node]..]);
        self.read[node] = self.log.len();
    }

    fn step(&mut self, step: &Step) {
        match *step {
            // Who is cut off can't journal: its cell does not go on.
            Step::Trade(account) if !self.cut[self.owner[account]] => self.truth[account] += 1,
            Step::Trade(_) => {}
            Step::Move(account, node) => self.owner[account] = node,
            Step::Cut(node) => self.cut[node] = true,
            Step::Back(node) => self.cut[node] = false,
            Step::Tell(node) => self.tell(node),
        }
        (0..3).for_each(|node| self.look(node));
    }
}

proptest! {
    #[test]
    fn in_the_end_all_nodes_show_the_same(steps in proptest::collection::vec(step(), 0..60)) {
        let mut nodes = Nodes::new();
        let mut shown = [[0; 3]; 3];
        for step in &steps {
            nodes.step(step);
            (0..3).for_each(|node| nodes.hear(node));
            // What was shown of a cell does not go back.
            for (node, heard) in nodes.heard.iter().enumerate() {
                for (account, name) in ACCOUNTS.iter().enumerate() {
                    let known = heard.cell(name, &nodes.plan).map_or(0, |known| known.view.seq);
                    prop_assert!(known >= shown[node][account] && known <= nodes.truth[account]);
                    shown[node][account] = known;
                }
            }
        }
        (0..3).for_each(|node| nodes.step(&Step::Back(node)));
        for _ in 0..3 {
            (0..3).for_each(|node| nodes.tell(node));
            (0..3).for_each(|node| nodes.hear(node));
        }
        // One that comes now reads the table: the last record of each key.
        let new = Heard::default();
        let mut table = std::collections::BTreeMap::new();
        nodes.log.iter().for_each(|(key, record)| drop(table.insert(key.clone(), record.clone())));
        hear(&new, &nodes.plan, &table.into_iter().collect::<Vec<_>>());
        for (account, name) in ACCOUNTS.iter().enumerate() {
            for heard in nodes.heard.iter().chain([&new]) {
                let known = heard.cell(name, &nodes.plan).map(|known| known.view.seq);
                prop_assert_eq!(known, Some(nodes.truth[account]), "{}", name);
            }
        }
        // And then there is nothing more to tell.
        for node in 0..3 {
            let due = nodes.tellers[node].due((nodes.here[node].clone(), Vec::new()), &nodes.plan, at(nodes.now));
            prop_assert_eq!(keys(&due), Vec::<&str>::new());
        }
    }
}
