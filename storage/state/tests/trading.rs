//! The read models of trading, on SQLite and on PostgreSQL.

mod kit;

use kit::{Fixture, suite};
use tradeflow_state::trading::{
    Batch, EquityRow, FillRow, OrderEventRow, OrderRow, PositionRow, Projected, TradeRow, Which,
};
use tradeflow_state::{Cursor, State, StateError};

suite!(
    a_record_is_written_once_whoever_reads_it,
    a_batch_is_written_whole_or_not_at_all,
    pages_hold_each_row_once_in_order,
    lists_are_filtered,
    an_order_has_its_history,
    tags_and_notes_outlive_a_rebuild,
    odd_texts_find_nothing_and_break_nothing,
);

fn order(account: &str, id: i64, created: i64, status: &str) -> OrderRow {
    OrderRow {
        account: account.into(),
        order_id: id,
        session: "s".into(),
        symbol: if id % 2 == 0 { "BTCUSD" } else { "ETHUSD" }.into(),
        strategy: (id % 3 == 0).then(|| "cross".to_owned()),
        side: if id % 5 == 0 { "sell" } else { "buy" }.into(),
        kind: "limit".into(),
        qty: "1.5".into(),
        price: Some("100.25".into()),
        stop_trigger: None,
        filled: "0".into(),
        average_price: None,
        time_in_force: "gtc".into(),
        expires: None,
        execution: "continuous".into(),
        reduce_only: 0,
        post_only: 1,
        parent: None,
        status: status.into(),
        reason: None,
        created,
        updated: created,
    }
}

fn event(row: &OrderRow, seq: i64) -> OrderEventRow {
    OrderEventRow {
        account: row.account.clone(),
        seq,
        order_id: row.order_id,
        event: row.status.clone(),
        status: row.status.clone(),
        reason: row.reason.clone(),
        filled: row.filled.clone(),
        ts: row.updated,
    }
}

fn changed(row: &OrderRow, seq: i64) -> Projected {
    Projected::Order(Box::new(row.clone()), event(row, seq))
}

fn fill(account: &str, seq: i64, ts: i64) -> FillRow {
    FillRow {
        account: account.into(),
        seq,
        order_id: seq - 1,
        session: "s".into(),
        symbol: "BTCUSD".into(),
        strategy: None,
        side: "buy".into(),
        price: "100".into(),
        qty: "1".into(),
        fee: "0.1".into(),
        liquidity: "taker".into(),
        position_qty: "1".into(),
        cash: "9900".into(),
        ts,
    }
}

fn trade(account: &str, seq: i64, exit_time: i64) -> TradeRow {
    TradeRow {
        account: account.into(),
        seq,
        session: "s".into(),
        symbol: "BTCUSD".into(),
        strategy: None,
        side: "long".into(),
        qty: "1".into(),
        entry_time: exit_time - 10,
        exit_time,
        entry_price: "100".into(),
        exit_price: "101".into(),
        pnl: "1".into(),
        fees: "0.2".into(),
        dividends: "0".into(),
        pnl_net: "0.8".into(),
    }
}

async fn project(state: &State, from: Option<u64>, next: u64, rows: &[Projected]) -> bool {
    state.project(Batch { origin: "o", topic: "orders.v1", partition: 3, from, next, rows }).await.unwrap()
}

async fn all_orders(state: &State) -> Vec<OrderRow> {
    state.orders(Which::default(), None, None, None, 1000).await.unwrap()
}

async fn a_record_is_written_once_whoever_reads_it(Fixture { state, .. }: Fixture) {
    let row = order("a", 1, 10, "submitted");
    assert_eq!(state.projected("o", "orders.v1", 3).await.unwrap(), None);
    assert!(project(&state, None, 5, &[changed(&row, 1)]).await);
    assert!(!project(&state, None, 5, &[changed(&row, 1)]).await, "another one has begun it");
    assert_eq!(state.projected("o", "orders.v1", 3).await.unwrap(), Some(5));
    let filled = OrderRow { status: "filled".into(), filled: "1.5".into(), updated: 20, ..row.clone() };
    let readers: Vec<_> = (0..8)
        .map(|_| {
            let (state, filled) = (state.clone(), filled.clone());
            tokio::spawn(async move { project(&state, Some(5), 6, &[changed(&filled, 2)]).await })
        })
        .collect();
    let mut wrote = 0;
    for reader in readers {
        wrote += u32::from(reader.await.unwrap());
    }
    assert_eq!(wrote, 1, "of readers at once one writes");
    assert!(!project(&state, Some(5), 6, &[changed(&row, 3)]).await, "it was read before");
    assert_eq!(all_orders(&state).await, [filled]);
    assert_eq!(state.order_events("a", 1).await.unwrap().len(), 2);
    let error = state.projected("other", "orders.v1", 3).await.unwrap_err();
    assert!(error.to_string().contains("tradeflow state rebuild"), "{error}");
    // Partitions and topics have places of their own.
    assert_eq!(state.projected("o", "orders.v1", 4).await.unwrap(), None);
    assert_eq!(state.projected("o", "fills.v1", 3).await.unwrap(), None);
}

async fn a_batch_is_written_whole_or_not_at_all(Fixture { state, .. }: Fixture) {
    let good = changed(&order("a", 1, 10, "submitted"), 1);
    // A text with a zero is none for PostgreSQL; SQLite takes it, so there it is the place that does not fit.
    let bad = changed(&OrderRow { symbol: "a\0b".into(), ..order("a", 2, 11, "submitted") }, 2);
    let rows = [good, bad];
    let batch = Batch { origin: "o", topic: "orders.v1", partition: 3, from: Some(7), next: 8, rows: &rows };
    assert!(!state.project(batch).await.unwrap(), "it was never read up to 7");
    assert_eq!(all_orders(&state).await, []);
    if let Err(error) = state.project(Batch { from: None, ..batch }).await {
        assert!(matches!(error, StateError::Text), "{error}");
        assert_eq!(all_orders(&state).await, []);
        assert_eq!(state.projected("o", "orders.v1", 3).await.unwrap(), None);
    }
}

async fn pages_hold_each_row_once_in_order(Fixture { state, .. }: Fixture) {
    // Many at the same time, in several accounts, with the same numbers.
    let rows: Vec<_> =
        (0..120_i64).map(|n| order(["a", "b", "c"][(n % 3) as usize], n / 3, n / 17, "submitted")).collect();
    let changes: Vec<_> = rows.iter().enumerate().map(|(n, row)| changed(row, n as i64)).collect();
    assert!(project(&state, None, 120, &changes).await);
    let mut expected = rows;
    expected.sort_by(|a, b| (b.created, b.order_id, &b.account).cmp(&(a.created, a.order_id, &a.account)));
    assert_eq!(all_orders(&state).await, expected);
    for size in [1, 7, 50, 119, 120, 121] {
        let (mut found, mut cursor): (Vec<OrderRow>, Option<Cursor>) = (Vec::new(), None);
        loop {
            let page = state.orders(Which::default(), None, None, cursor.as_ref(), size).await.unwrap();
            let Some(last) = page.last() else { break };
            let place = Cursor { time: last.created, number: last.order_id, account: last.account.clone() };
            cursor = Some(place.to_string().parse().unwrap());
            found.extend(page);
        }
        assert_eq!(found, expected, "pages of {size}");
    }
}

async fn lists_are_filtered(Fixture { state, .. }: Fixture) {
    let statuses = ["submitted", "accepted", "filled", "cancelled", "denied", "partially-filled"];
    let rows: Vec<_> = (0..60_i64)
        .map(|n| order(["a", "b"][(n % 2) as usize], n, 1000 + n, statuses[(n % 6) as usize]))
        .collect();
    let changes: Vec<_> = rows.iter().map(|row| changed(row, row.order_id)).collect();
    assert!(project(&state, None, 60, &changes).await);
    type Fits = fn(&OrderRow) -> bool;
    let only_b = ["b".to_owned()];
    let cases: [(Which<'_>, Option<bool>, Option<&str>, Fits); 9] = [
        (Which { accounts: Some(&only_b), ..Which::default() }, None, None, |row| row.account == "b"),
        (Which { accounts: Some(&[]), ..Which::default() }, None, None, |_| false),
        (Which { symbol: Some("ETHUSD"), ..Which::default() }, None, None, |row| row.symbol == "ETHUSD"),
        (Which { strategy: Some("cross"), ..Which::default() }, None, None, |row| row.strategy.is_some()),
        (Which { side: Some("sell"), ..Which::default() }, None, None, |row| row.side == "sell"),
        (Which { from: Some(1010), to: Some(1020), ..Which::default() }, None, None, |row| {
            (1010..1020).contains(&row.created)
        }),
        (Which::default(), Some(true), None, |row| {
            ["submitted", "accepted", "partially-filled"].contains(&row.status.as_str())
        }),
        (Which::default(), Some(false), None, |row| {
            ["filled", "cancelled", "denied"].contains(&row.status.as_str())
        }),
        (Which { symbol: Some("BTCUSD"), ..Which::default() }, None, Some("filled"), |row| {
            row.symbol == "BTCUSD" && row.status == "filled"
        }),
    ];
    for (number, (which, open, status, fits)) in cases.into_iter().enumerate() {
        let found = state.orders(which, open, status, None, 1000).await.unwrap();
        let expected: Vec<_> = rows.iter().rev().filter(|row| fits(row)).cloned().collect();
        assert_eq!(found, expected, "case {number}");
        assert!(number == 1 || !found.is_empty(), "case {number} asks for something");
    }
}

async fn an_order_has_its_history(Fixture { state, .. }: Fixture) {
    let sent = order("a", 9, 10, "submitted");
    let accepted = OrderRow { status: "accepted".into(), updated: 11, ..sent.clone() };
    let moved = OrderRow { price: Some("99".into()), qty: "2".into(), updated: 12, ..accepted.clone() };
    let ended =
        OrderRow { status: "cancelled".into(), reason: Some("asked".into()), updated: 13, ..moved.clone() };
    let rows: Vec<_> =
        [&sent, &accepted, &moved, &ended].iter().zip(1..).map(|(row, seq)| changed(row, seq)).collect();
    assert!(project(&state, None, 4, &rows).await);
    assert_eq!(state.order("a", 9).await.unwrap(), ended);
    let told: Vec<_> =
        state.order_events("a", 9).await.unwrap().into_iter().map(|e| (e.seq, e.event)).collect();
    let names = ["submitted", "accepted", "accepted", "cancelled"];
    assert_eq!(told, (1..).zip(names.map(str::to_owned)).collect::<Vec<_>>());
    assert!(matches!(state.order("b", 9).await, Err(StateError::Missing("order"))));
}

async fn tags_and_notes_outlive_a_rebuild(Fixture { state, .. }: Fixture) {
    let position = PositionRow {
        account: "a".into(),
        symbol: "BTCUSD".into(),
        qty: "0".into(),
        cost: "0".into(),
        realized: "1".into(),
        fees: "0.2".into(),
        updated: 50,
    };
    let rows = [
        Projected::Fill(Box::new(fill("a", 2, 40)), None, None),
        Projected::Fill(
            Box::new(fill("a", 4, 50)),
            Some(position.clone()),
            Some(Box::new(trade("a", 4, 50))),
        ),
        Projected::Fill(Box::new(fill("b", 4, 51)), None, Some(Box::new(trade("b", 4, 51)))),
        Projected::Equity(vec![EquityRow {
            account: "a".into(),
            ts: 60,
            cash: "1".into(),
            equity: "2".into(),
        }]),
    ];
    assert!(project(&state, None, 3, &rows).await);
    let tags = ["late".to_owned(), "breakout".to_owned(), "late".to_owned()];
    let kept = state.annotate_trade("a", 4, Some(&tags), Some("too early")).await.unwrap();
    assert_eq!((kept.tags.join(","), kept.note.as_str()), ("breakout,late".into(), "too early"));
    assert!(matches!(state.annotate_trade("a", 5, None, None).await, Err(StateError::Missing("trade"))));
    let tagged = state.trades(Which::default(), Some("late"), None, 10).await.unwrap();
    assert_eq!(tagged, std::slice::from_ref(&kept));

    state.forget_projections().await.unwrap();
    assert_eq!(state.projected("o", "orders.v1", 3).await.unwrap(), None);
    assert_eq!(state.trades(Which::default(), None, None, 10).await.unwrap(), []);
    assert_eq!(state.fills(Which::default(), None, None, 10).await.unwrap(), []);
    assert_eq!(state.positions("a").await.unwrap(), []);
    assert_eq!(state.equity("a", None, None).await.unwrap(), []);
    assert!(project(&state, None, 3, &rows).await);
    assert_eq!(state.trade("a", 4).await.unwrap(), kept);
    assert_eq!(state.trade("b", 4).await.unwrap().tags, Vec::<String>::new(), "they are of that account");
    assert_eq!(state.positions("a").await.unwrap(), [position]);
    assert_eq!(state.equity("a", Some(60), Some(61)).await.unwrap().len(), 1);
    assert_eq!(state.equity("a", Some(61), None).await.unwrap(), []);
    let fewer = state.annotate_trade("a", 4, Some(&[]), None).await.unwrap();
    assert_eq!((fewer.tags.len(), fewer.note.as_str()), (0, "too early"));
}

async fn odd_texts_find_nothing_and_break_nothing(Fixture { state, .. }: Fixture) {
    assert!(project(&state, None, 1, &[changed(&order("a", 1, 10, "submitted"), 1)]).await);
    for odd in ["' OR 1 = 1 --", "a'; DROP TABLE orders; --", "%", "$1", "?", "\u{1f600}", "a' UNION SELECT"]
    {
        let accounts = [odd.to_owned()];
        for which in [
            Which { accounts: Some(&accounts), ..Which::default() },
            Which { symbol: Some(odd), ..Which::default() },
            Which { strategy: Some(odd), ..Which::default() },
            Which { side: Some(odd), ..Which::default() },
        ] {
            assert_eq!(state.orders(which, None, None, None, 10).await.unwrap(), [], "{odd}");
            assert_eq!(state.trades(which, Some(odd), None, 10).await.unwrap(), [], "{odd}");
        }
        assert_eq!(state.orders(Which::default(), None, Some(odd), None, 10).await.unwrap(), [], "{odd}");
        let before = Cursor { time: 10, number: 1, account: odd.to_owned() };
        state.orders(Which::default(), None, None, Some(&before), 10).await.unwrap();
    }
    assert_eq!(all_orders(&state).await.len(), 1);
}
