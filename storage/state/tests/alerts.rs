//! Alerts and settings, on SQLite and on PostgreSQL.

mod kit;

use kit::{Fixture, suite};
use tradeflow_model::Timestamp;
use tradeflow_state::{
    AlertEventRow, AlertRow, DeliveryRow, Firing, KeyRing, NewUser, State, StateError, User, UserChange,
};

const SECOND: i64 = 1_000_000_000;

suite!(
    an_alert_goes_off_once_among_many,
    each_fill_is_told_once_whoever_sees_it,
    who_may_not_see_the_account_is_not_told,
    what_was_changed_meanwhile_is_not_written,
    a_delivery_is_one_nodes_until_its_lease_ends,
    settings_are_set_and_taken_back,
);

fn at(secs: i64) -> Timestamp {
    Timestamp::from_nanos(1_760_000_000 * SECOND + secs * SECOND)
}

async fn add(state: &State, email: &str) -> User {
    let new = NewUser { email, name: "", password: "hash", open: true };
    state.add_user(at(0), new).await.unwrap().unwrap()
}

fn row(user: &User, id: &str) -> AlertRow {
    AlertRow {
        id: id.to_owned(),
        user_id: user.id.clone(),
        name: "a".to_owned(),
        rule: "{}".to_owned(),
        account: None,
        repeats: 1,
        pause: 10 * SECOND,
        enabled: 1,
        mail: 1,
        webhook_url: Some("http://example.org/".to_owned()),
        webhook_secret: Some("key".to_owned()),
        webhook_key: None,
        created: 5,
        changed: 5,
        fired: None,
        fires: 0,
        seen: 0,
        progress: "{}".to_owned(),
        allowed: 1,
    }
}

fn event(alert: &AlertRow, id: &str) -> AlertEventRow {
    AlertEventRow {
        id: id.to_owned(),
        alert_id: alert.id.clone(),
        user_id: alert.user_id.clone(),
        ts: at(1).as_nanos(),
        node: "n".to_owned(),
        name: alert.name.clone(),
        kind: "price".to_owned(),
        message: "m".to_owned(),
        data: "{}".to_owned(),
        test: 0,
    }
}

async fn fire(state: &State, alert: &AlertRow, id: &str, at: i64, fill: Option<i64>) -> bool {
    let event = event(alert, id);
    state.fire_alert(Firing { alert, at, fill, progress: r#"{"armed":false}"#, event: &event }).await.unwrap()
}

async fn an_alert_goes_off_once_among_many(Fixture { state, .. }: Fixture) {
    let ann = add(&state, "ann@example.org").await;
    for (id, repeats) in [("once", 0), ("again", 1)] {
        let alert = AlertRow { repeats, ..row(&ann, id) };
        assert!(state.add_alert(&alert, 2).await.unwrap());
        let tasks: Vec<_> = (0..8)
            .map(|n| {
                let (state, alert) = (state.clone(), alert.clone());
                let name = format!("{id}-{n}");
                tokio::spawn(async move { fire(&state, &alert, &name, 7, None).await })
            })
            .collect();
        let mut fired = 0;
        for task in tasks {
            fired += i32::from(task.await.unwrap());
        }
        assert_eq!(fired, 1, "{id}");
        assert_eq!(state.alert_events(&ann.id, Some(id), None, 9).await.unwrap().len(), 1);
        let kept = state.alert(&ann.id, id).await.unwrap();
        assert_eq!((kept.fires, kept.fired, kept.enabled), (1, Some(7), repeats));
        assert_eq!(kept.progress, r#"{"armed":false}"#);
        // Who knows that it went off may let it go off again, where it repeats.
        assert_eq!(fire(&state, &kept, &format!("{id}-more"), 8, None).await, repeats == 1);
    }
    assert!(!state.add_alert(&row(&ann, "third"), 2).await.unwrap(), "there are two");
    let watched = state.watched_alerts().await.unwrap();
    assert_eq!(watched.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(), ["again"]);
    assert!(matches!(state.alert("another", "again").await, Err(StateError::Missing("alert"))));
}

async fn each_fill_is_told_once_whoever_sees_it(Fixture { state, .. }: Fixture) {
    let ann = add(&state, "ann@example.org").await;
    let alert = AlertRow { seen: 3, ..row(&ann, "fills") };
    assert!(state.add_alert(&alert, 9).await.unwrap());
    let told =
        async |n: i64, secs: i64, seq| fire(&state, &alert, &n.to_string(), secs * SECOND, Some(seq)).await;
    assert!(!told(1, 1, 3).await, "it was there before");
    assert!(told(2, 1, 4).await);
    assert!(!told(3, 100, 4).await, "another node had it");
    assert!(!told(4, 10, 5).await, "it is in the pause");
    assert!(told(5, 11, 6).await, "whoever has seen the one before");
    let kept = state.alert(&ann.id, "fills").await.unwrap();
    assert_eq!((kept.seen, kept.fires, kept.fired), (6, 2, Some(11 * SECOND)));
}

async fn who_may_not_see_the_account_is_not_told(Fixture { state, .. }: Fixture) {
    let boss = add(&state, "boss@example.org").await;
    let ann = add(&state, "ann@example.org").await;
    for user in [&boss, &ann] {
        let alert = AlertRow { account: Some("paper".to_owned()), ..row(user, &user.email) };
        assert!(state.add_alert(&alert, 9).await.unwrap());
    }
    let watched = async || {
        let rows = state.watched_alerts().await.unwrap();
        rows.into_iter().map(|row| row.id).collect::<Vec<_>>()
    };
    let alert = state.alert(&ann.id, &ann.email).await.unwrap();
    assert_eq!((watched().await, alert.allowed), (vec![boss.email.clone()], 0));
    assert!(!fire(&state, &alert, "1", 1, None).await);
    state.grant_access(&ann.id, "paper").await.unwrap();
    assert_eq!(watched().await, [ann.email.clone(), boss.email.clone()]);
    assert!(fire(&state, &alert, "2", 1, None).await);
    let alert = state.alert(&ann.id, &ann.email).await.unwrap();
    assert_eq!(alert.allowed, 1);
    state.revoke_access(&ann.id, "paper").await.unwrap();
    assert!(!fire(&state, &alert, "3", 99 * SECOND, None).await, "it was taken a moment before");
    state.grant_access(&ann.id, "paper").await.unwrap();
    state.change_user(&ann.id, UserChange { disabled: Some(true), ..UserChange::default() }).await.unwrap();
    assert!(!fire(&state, &alert, "4", 99 * SECOND, None).await, "he can't log in");
    assert_eq!(watched().await, std::slice::from_ref(&boss.email));
    assert_eq!(state.delivery_target("2").await.unwrap(), None);
}

async fn what_was_changed_meanwhile_is_not_written(Fixture { state, .. }: Fixture) {
    let ann = add(&state, "ann@example.org").await;
    let alert = row(&ann, "a");
    assert!(state.add_alert(&alert, 9).await.unwrap());
    state.keep_alert(&AlertRow { progress: "1".to_owned(), seen: 5, ..alert.clone() }).await.unwrap();
    let kept = state.alert(&ann.id, "a").await.unwrap();
    assert_eq!((kept.progress.as_str(), kept.seen), ("1", 5));
    let changed = AlertRow { name: "b".to_owned(), changed: 6, progress: "2".to_owned(), ..kept };
    state.change_alert(&changed).await.unwrap();
    state.keep_alert(&AlertRow { progress: "3".to_owned(), ..alert.clone() }).await.unwrap();
    assert!(!fire(&state, &alert, "1", 1, None).await);
    assert_eq!(state.alert(&ann.id, "a").await.unwrap(), changed);
    assert!(matches!(state.remove_alert("other", "a").await, Err(StateError::Missing("alert"))));
    assert!(matches!(
        state.change_alert(&AlertRow { user_id: "other".to_owned(), ..changed.clone() }).await,
        Err(StateError::Missing("alert"))
    ));
    assert!(fire(&state, &changed, "2", 1, None).await);
    state.remove_alert(&ann.id, "a").await.unwrap();
    assert_eq!(state.alert_events(&ann.id, None, None, 9).await.unwrap().len(), 1, "what was told stays");
    assert_eq!(state.delivery_target("2").await.unwrap(), None, "and goes nowhere any more");
}

async fn a_delivery_is_one_nodes_until_its_lease_ends(Fixture { state, .. }: Fixture) {
    let ann = add(&state, "ann@example.org").await;
    let alert = row(&ann, "a");
    assert!(state.add_alert(&alert, 9).await.unwrap());
    assert!(fire(&state, &alert, "e", 1, None).await);
    let take = async |now, lease| state.take_deliveries(at(now), at(lease), 9).await.unwrap();
    let ways = |rows: &[DeliveryRow]| rows.iter().map(|row| row.way.clone()).collect::<Vec<_>>();
    assert!(take(0, 60).await.is_empty(), "they are due later");
    let (one, other) = tokio::join!(take(2, 60), take(2, 60));
    let mut taken = [one, other].concat();
    taken.sort_by(|a, b| a.way.cmp(&b.way));
    assert_eq!(ways(&taken), ["mail", "webhook"]);
    assert!(take(59, 99).await.is_empty());
    let sent = DeliveryRow { status: "sent".to_owned(), ..taken[0].clone() };
    state.keep_delivery(&taken[0], &sent).await.unwrap();
    let again = take(61, 120).await;
    assert_eq!((ways(&again), again[0].attempts), (vec!["webhook".to_owned()], 2));
    // Whoever had it before has nothing to say any more.
    let failed = DeliveryRow { status: "failed".to_owned(), ..taken[1].clone() };
    state.keep_delivery(&taken[1], &failed).await.unwrap();
    let later = DeliveryRow { due: at(200).as_nanos(), error: Some("why".to_owned()), ..again[0].clone() };
    state.keep_delivery(&again[0], &later).await.unwrap();
    assert!(take(199, 300).await.is_empty());
    let all = state.deliveries_of(&["e".to_owned()]).await.unwrap();
    let shown: Vec<_> =
        all.iter().map(|row| (row.status.as_str(), row.attempts, row.error.as_deref())).collect();
    assert_eq!(shown, [("sent", 1, None), ("waiting", 2, Some("why"))]);
    let target = state.delivery_target("e").await.unwrap().unwrap();
    let secret = target.open_secret(&KeyRing::default()).unwrap().unwrap();
    assert_eq!((target.email.as_str(), secret.as_slice()), ("ann@example.org", &b"key"[..]));
    assert_eq!(state.alert_events_since(at(1)).await.unwrap().len(), 1);
    assert_eq!(state.trim_alert_events(at(2)).await.unwrap(), 1);
    assert!(state.deliveries_of(&["e".to_owned()]).await.unwrap().is_empty());
}

async fn settings_are_set_and_taken_back(Fixture { state, .. }: Fixture) {
    let text = |text: &str| Some(text.to_owned());
    let set = async |owner: &str, name: &str, value| {
        state.set_settings(at(0), owner, &[(name.to_owned(), value)]).await.unwrap();
    };
    set("ann", "theme", text("\"dark\"")).await;
    set("ann", "theme", text("\"light\"")).await;
    set("global", "theme", text("\"dark\"")).await;
    set("ann", "mail", text("false")).await;
    let of = async |owner| state.settings(owner).await.unwrap();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(of("ann").await, [pair("mail", "false"), pair("theme", "\"light\"")]);
    set("ann", "mail", None).await;
    assert_eq!((of("ann").await.len(), of("global").await.len(), of("bob").await.len()), (1, 1, 0));
}
