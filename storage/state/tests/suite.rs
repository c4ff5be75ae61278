//! One suite on SQLite and on PostgreSQL.

mod kit;

use kit::{Fixture, postgres_server, suite};
use tradeflow_model::Timestamp;
use tradeflow_state::{
    AuditFilter, Begun, Lifetimes, NewApiKey, NewAudit, NewUser, Refreshed, Role, Scope, State, StateError,
    SystemEntry, SystemFilter, TokenKind, User, UserChange, Written, password,
};

const SECOND: i64 = 1_000_000_000;
const LIFETIMES: Lifetimes = Lifetimes { access: 600 * SECOND, refresh: 86_400 * SECOND };

suite!(
    the_first_user_is_administrator_and_registration_can_be_closed,
    of_many_first_users_one_is_administrator,
    emails_are_unique_whatever_their_case,
    users_change_and_the_last_administrator_stays,
    failed_logins_must_wait,
    a_session_is_identified_until_it_expires,
    a_refresh_token_is_good_once_and_its_reuse_ends_the_session,
    of_exchanges_at_once_one_succeeds,
    sessions_are_listed_and_ended_by_their_user_alone,
    a_new_password_ends_other_sessions_and_resets,
    api_keys_have_scopes_and_end,
    accounts_are_shown_to_whom_they_were_given,
    watchlists_keep_their_order,
    a_write_is_begun_once,
    the_audit_log_is_filtered_and_paged,
    the_system_log_is_filtered_and_paged,
    what_was_written_is_there_after_a_restart,
    odd_texts_stay_texts,
);

fn at(secs: i64) -> Timestamp {
    Timestamp::from_nanos(1_760_000_000 * SECOND + secs * SECOND)
}

async fn add(state: &State, email: &str) -> User {
    let new = NewUser { email, name: "", password: "hash", open: true };
    state.add_user(at(0), new).await.unwrap().unwrap()
}

async fn the_first_user_is_administrator_and_registration_can_be_closed(Fixture { state, .. }: Fixture) {
    assert!(!state.has_users().await.unwrap());
    let closed = |email| NewUser { email, name: "Ann", password: "hash", open: false };
    let first =
        state.add_user(at(5), closed("Ann@Example.org")).await.unwrap().expect("the first may always");
    assert_eq!(
        (first.role, first.email.as_str(), first.created),
        (Role::Administrator, "ann@example.org", at(5))
    );
    assert!(state.has_users().await.unwrap());
    assert_eq!(state.add_user(at(6), closed("b@example.org")).await.unwrap(), None);
    assert_eq!(add(&state, "b@example.org").await.role, Role::Trader);
    assert_eq!(state.user(&first.id).await.unwrap(), first);
    assert!(matches!(state.user("none").await, Err(StateError::Missing("user"))));
}

async fn of_many_first_users_one_is_administrator(Fixture { state, .. }: Fixture) {
    let tasks: Vec<_> = (0..8)
        .map(|n| {
            let state = state.clone();
            tokio::spawn(async move { add(&state, &format!("u{n}@example.org")).await.role })
        })
        .collect();
    let mut roles = Vec::new();
    for task in tasks {
        roles.push(task.await.unwrap());
    }
    assert_eq!(roles.iter().filter(|role| **role == Role::Administrator).count(), 1, "{roles:?}");
}

async fn emails_are_unique_whatever_their_case(Fixture { state, .. }: Fixture) {
    add(&state, "ann@example.org").await;
    let new = NewUser { email: "ANN@example.ORG", name: "", password: "hash", open: true };
    let error = state.add_user(at(0), new).await.unwrap_err();
    assert!(matches!(&error, StateError::Exists(what) if what == "user ann@example.org"), "{error}");
    assert!(state.attempt("Ann@example.org").await.unwrap().is_some());
    assert!(state.attempt("bob@example.org").await.unwrap().is_none());
}

async fn users_change_and_the_last_administrator_stays(Fixture { state, .. }: Fixture) {
    let (ann, bob) = (add(&state, "ann@example.org").await, add(&state, "bob@example.org").await);
    let role = |role| UserChange { role: Some(role), ..UserChange::default() };
    let error = state.change_user(&ann.id, role(Role::Viewer)).await.unwrap_err();
    assert!(matches!(error, StateError::Invalid(_)), "{error}");
    assert_eq!(state.user(&ann.id).await.unwrap().role, Role::Administrator, "nothing was changed");
    assert_eq!(
        state.change_user(&bob.id, role(Role::Administrator)).await.unwrap().role,
        Role::Administrator
    );
    let issued = state.begin_session(at(0), &ann.id, LIFETIMES, "", "").await.unwrap();
    let disabled = UserChange { disabled: Some(true), name: Some("Ann"), role: None };
    let changed = state.change_user(&ann.id, disabled).await.unwrap();
    assert_eq!((changed.disabled, changed.name.as_str(), changed.role), (true, "Ann", Role::Administrator));
    assert_eq!(state.identify(at(1), issued.access.reveal()).await.unwrap(), None, "his sessions have ended");
    assert!(matches!(state.change_user("none", role(Role::Viewer)).await, Err(StateError::Missing("user"))));
    let listed = state.users("", 10).await.unwrap();
    assert_eq!(listed.iter().map(|user| &user.email[..3]).collect::<Vec<_>>(), ["ann", "bob"]);
    assert_eq!(state.users(&ann.id, 1).await.unwrap()[0].id, bob.id);
}

async fn failed_logins_must_wait(Fixture { state, .. }: Fixture) {
    let ann = add(&state, "ann@example.org").await;
    let mut waits = Vec::new();
    for _ in 0..18 {
        let until = state.note_failed_login(at(0), &ann.id).await.unwrap();
        waits.push((until.as_nanos() - at(0).as_nanos()) / SECOND);
    }
    assert_eq!(waits[..8], [0, 0, 0, 0, 1, 2, 4, 8]);
    assert_eq!(waits[16..], [900, 900]);
    let attempt = state.attempt("ann@example.org").await.unwrap().unwrap();
    assert_eq!((attempt.locked_until, attempt.password.as_str()), (at(900), "hash"));
    state.begin_session(at(1000), &ann.id, LIFETIMES, "", "").await.unwrap();
    assert_eq!(state.note_failed_login(at(2000), &ann.id).await.unwrap(), at(2000), "counted anew");
}

async fn a_session_is_identified_until_it_expires(Fixture { state, .. }: Fixture) {
    let ann = add(&state, "ann@example.org").await;
    let issued = state.begin_session(at(0), &ann.id, LIFETIMES, "10.0.0.1", "curl").await.unwrap();
    let found = state.identify(at(600), issued.access.reveal()).await.unwrap().expect("known");
    assert_eq!((found.user.id, found.session, found.key), (ann.id, Some(issued.session.clone()), None));
    assert_eq!(found.scopes, Scope::ALL);
    let found = state.identify(at(600), issued.access.reveal()).await.unwrap().unwrap();
    assert!(
        found.is_csrf(issued.csrf.reveal()) && !found.is_csrf("") && !found.is_csrf(issued.access.reveal())
    );
    assert_eq!(state.identify(at(601), issued.access.reveal()).await.unwrap(), None);
    for other in [issued.refresh.reveal(), issued.csrf.reveal(), "", "tfa_", "tfa_00", "x' OR '1'='1"] {
        assert_eq!(state.identify(at(0), other).await.unwrap(), None, "{other}");
    }
    assert_eq!(TokenKind::of(issued.access.reveal()), Some(TokenKind::Access));
    assert!(!format!("{issued:?}").contains(&issued.access.reveal()[8..]), "tokens do not show");
}

async fn a_refresh_token_is_good_once_and_its_reuse_ends_the_session(Fixture { state, .. }: Fixture) {
    let ann = add(&state, "ann@example.org").await;
    let first = state.begin_session(at(0), &ann.id, LIFETIMES, "a", "x").await.unwrap();
    let refresh = async |secs, token: &str| state.refresh(at(secs), token, LIFETIMES, "b").await.unwrap();
    let Refreshed::Done(done) = refresh(100, first.refresh.reveal()).await else { panic!("it is good") };
    let (user, second) = *done;
    assert_eq!((user.id, &second.session), (ann.id.clone(), &first.session));
    assert_eq!(state.identify(at(100), first.access.reveal()).await.unwrap(), None, "the old pair is void");
    assert!(state.identify(at(100), second.access.reveal()).await.unwrap().is_some());
    // Another window of the same browser.
    assert!(matches!(refresh(105, first.refresh.reveal()).await, Refreshed::JustSpent));
    assert!(state.identify(at(105), second.access.reveal()).await.unwrap().is_some());
    assert!(matches!(refresh(105, "tfr_nothing").await, Refreshed::Unknown));
    // A thief.
    let Refreshed::Stolen(user) = refresh(200, first.refresh.reveal()).await else { panic!("reuse") };
    assert_eq!(user.id, ann.id);
    assert_eq!(state.identify(at(200), second.access.reveal()).await.unwrap(), None, "for both it is over");
    assert!(matches!(refresh(200, second.refresh.reveal()).await, Refreshed::Unknown));
    let old = state.begin_session(at(0), &ann.id, LIFETIMES, "a", "x").await.unwrap();
    assert!(matches!(refresh(86_401, old.refresh.reveal()).await, Refreshed::Unknown), "its time is over");
}

async fn of_exchanges_at_once_one_succeeds(Fixture { state, .. }: Fixture) {
    let ann = add(&state, "ann@example.org").await;
    let issued = state.begin_session(at(0), &ann.id, LIFETIMES, "", "").await.unwrap();
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (state, token) = (state.clone(), issued.refresh.reveal().to_owned());
            tokio::spawn(async move { state.refresh(at(1), &token, LIFETIMES, "").await.unwrap() })
        })
        .collect();
    let (mut done, mut spent) = (0, 0);
    for task in tasks {
        match task.await.unwrap() {
            Refreshed::Done(_) => done += 1,
            Refreshed::JustSpent => spent += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((done, spent), (1, 7));
}

async fn sessions_are_listed_and_ended_by_their_user_alone(Fixture { state, .. }: Fixture) {
    let (ann, bob) = (add(&state, "ann@example.org").await, add(&state, "bob@example.org").await);
    let first = state.begin_session(at(0), &ann.id, LIFETIMES, "10.0.0.1", "Firefox").await.unwrap();
    let second = state.begin_session(at(1), &ann.id, LIFETIMES, "10.0.0.2", "curl").await.unwrap();
    let listed = state.sessions(at(1), &ann.id).await.unwrap();
    let shown: Vec<_> =
        listed.iter().map(|one| (one.id.as_str(), one.address.as_str(), one.agent.as_str())).collect();
    assert_eq!(shown, [(&*second.session, "10.0.0.2", "curl"), (&*first.session, "10.0.0.1", "Firefox")]);
    let error = state.end_session(&bob.id, &first.session).await.unwrap_err();
    assert!(matches!(error, StateError::Missing("session")), "not his: {error}");
    state.end_session(&ann.id, &first.session).await.unwrap();
    assert_eq!(state.identify(at(1), first.access.reveal()).await.unwrap(), None);
    assert!(state.identify(at(1), second.access.reveal()).await.unwrap().is_some());
    assert_eq!(state.end_sessions(&ann.id).await.unwrap(), 1);
    assert!(state.sessions(at(1), &ann.id).await.unwrap().is_empty());
}

async fn a_new_password_ends_other_sessions_and_resets(Fixture { state, .. }: Fixture) {
    let ann = add(&state, "ann@example.org").await;
    let kept = state.begin_session(at(0), &ann.id, LIFETIMES, "", "").await.unwrap();
    let other = state.begin_session(at(0), &ann.id, LIFETIMES, "", "").await.unwrap();
    let void = state.add_reset(at(0), &ann.id).await.unwrap();
    let token = state.add_reset(at(0), &ann.id).await.unwrap();
    assert_eq!(state.reset_of(at(1), void.reveal()).await.unwrap(), None, "a newer one was asked for");
    assert_eq!(state.reset_of(at(1801), token.reveal()).await.unwrap(), None, "too old");
    assert_eq!(state.reset_of(at(1800), token.reveal()).await.unwrap(), Some(ann.id.clone()));
    state.set_password(&ann.id, "other", &kept.session).await.unwrap();
    assert_eq!(state.password_of(&ann.id).await.unwrap(), "other");
    assert_eq!(state.reset_of(at(1), token.reveal()).await.unwrap(), None, "good once");
    assert!(state.identify(at(1), kept.access.reveal()).await.unwrap().is_some());
    assert_eq!(state.identify(at(1), other.access.reveal()).await.unwrap(), None);
}

async fn api_keys_have_scopes_and_end(Fixture { state, .. }: Fixture) {
    let (ann, bob) = (add(&state, "ann@example.org").await, add(&state, "bob@example.org").await);
    let scopes = [Scope::Trade, Scope::Read, Scope::Trade];
    let new = NewApiKey { name: "bot", scopes: &scopes, expires: Some(at(100)) };
    let (key, token) = state.add_api_key(at(0), &ann.id, new).await.unwrap();
    assert_eq!((key.scopes.as_slice(), key.used), (&[Scope::Read, Scope::Trade][..], None));
    assert!(token.reveal().starts_with(&key.hint) && key.hint.len() == 10);
    let found = state.identify(at(50), token.reveal()).await.unwrap().expect("known");
    assert_eq!((found.user.id, found.key, found.session), (ann.id.clone(), Some(key.id.clone()), None));
    assert_eq!((found.scopes, found.expires), (vec![Scope::Read, Scope::Trade], at(100)));
    assert_eq!(state.api_keys(&ann.id).await.unwrap()[0].used, Some(at(50)));
    assert_eq!(state.identify(at(101), token.reveal()).await.unwrap(), None, "expired");
    assert!(state.api_keys(&bob.id).await.unwrap().is_empty());
    assert!(matches!(state.remove_api_key(&bob.id, &key.id).await, Err(StateError::Missing(_))), "not his");
    state.remove_api_key(&ann.id, &key.id).await.unwrap();
    assert_eq!(state.identify(at(50), token.reveal()).await.unwrap(), None);
}

async fn accounts_are_shown_to_whom_they_were_given(Fixture { state, .. }: Fixture) {
    let (ann, bob) = (add(&state, "ann@example.org").await, add(&state, "bob@example.org").await);
    for account in ["paper-2", "paper-1", "paper-1"] {
        state.grant_access(&bob.id, account).await.unwrap();
    }
    assert_eq!(state.accounts_of(&bob.id).await.unwrap(), ["paper-1", "paper-2"]);
    assert_eq!(state.users_of("paper-1").await.unwrap(), std::slice::from_ref(&bob.id));
    assert!(state.has_access(&bob.id, "paper-1").await.unwrap());
    assert!(!state.has_access(&ann.id, "paper-1").await.unwrap());
    state.revoke_access(&bob.id, "paper-1").await.unwrap();
    assert!(matches!(state.revoke_access(&bob.id, "paper-1").await, Err(StateError::Missing("access"))));
    assert!(!state.has_access(&bob.id, "paper-1").await.unwrap());
    assert!(matches!(state.grant_access("none", "paper-1").await, Err(StateError::Missing("user"))));
}

async fn watchlists_keep_their_order(Fixture { state, .. }: Fixture) {
    let (ann, bob) = (add(&state, "ann@example.org").await, add(&state, "bob@example.org").await);
    let symbols = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let list = state
        .add_watchlist(at(0), &ann.id, "main", &symbols(&["MSFT", "AAPL", "MSFT", "BTCUSD"]))
        .await
        .unwrap();
    assert_eq!(list.symbols, ["MSFT", "AAPL", "BTCUSD"]);
    let error = state.add_watchlist(at(0), &ann.id, "main", &[]).await.unwrap_err();
    assert!(matches!(error, StateError::Exists(_)), "{error}");
    state.add_watchlist(at(0), &bob.id, "main", &[]).await.expect("of another user");
    let changed = state.change_watchlist(&ann.id, &list.id, Some("first"), None).await.unwrap();
    assert_eq!((changed.name.as_str(), changed.symbols.len()), ("first", 3));
    let changed = state.change_watchlist(&ann.id, &list.id, None, Some(&symbols(&["SPY"]))).await.unwrap();
    assert_eq!((changed.name.as_str(), changed.symbols), ("first", symbols(&["SPY"])));
    let error = state.change_watchlist(&bob.id, &list.id, Some("x"), Some(&[])).await.unwrap_err();
    assert!(matches!(error, StateError::Missing(_)), "not his: {error}");
    assert!(matches!(state.remove_watchlist(&bob.id, &list.id).await, Err(StateError::Missing(_))));
    state.remove_watchlist(&ann.id, &list.id).await.unwrap();
    assert!(state.watchlists(&ann.id).await.unwrap().is_empty());
    assert_eq!(state.watchlists(&bob.id).await.unwrap().len(), 1);
}

async fn a_write_is_begun_once(Fixture { state, .. }: Fixture) {
    let (ann, bob) = (add(&state, "ann@example.org").await, add(&state, "bob@example.org").await);
    let begin = async |secs, user: &User, print: &str, command: &str| {
        state.begin_write(at(secs), &user.id, "key-1", print, command).await.unwrap()
    };
    assert_eq!(begin(0, &ann, "a", "c1").await, Begun::Do("c1".into()));
    assert_eq!(
        begin(1, &ann, "a", "c2").await,
        Begun::Do("c1".into()),
        "the same command, for there is no answer yet"
    );
    assert_eq!(begin(1, &ann, "b", "c3").await, Begun::Other);
    assert_eq!(begin(1, &bob, "b", "c4").await, Begun::Do("c4".into()), "keys are a user's own");
    let written = Written { status: 201, body: "{}".into() };
    state.end_write(&ann.id, "key-1", &written).await.unwrap();
    let late = Written { status: 409, body: "late".into() };
    state.end_write(&ann.id, "key-1", &late).await.unwrap();
    assert_eq!(begin(2, &ann, "a", "c5").await, Begun::Done(written), "the first answer stays");
    assert_eq!(
        begin(86_500, &ann, "z", "c6").await,
        Begun::Do("c6".into()),
        "after a day it may be used again"
    );
}

async fn the_audit_log_is_filtered_and_paged(Fixture { state, .. }: Fixture) {
    let ann = add(&state, "ann@example.org").await;
    for n in 0..5 {
        let (user, action) =
            if n % 2 == 0 { (Some(ann.id.as_str()), "auth.login") } else { (None, "orders.place") };
        let object = n.to_string();
        let new = NewAudit { user, actor: "ann", action, object: &object, outcome: "done", address: "::1" };
        state.add_audit(at(n), new).await.unwrap();
    }
    let find = async |filter| {
        let found = state.audit(filter, 2).await.unwrap();
        found.into_iter().map(|entry| (entry.object, entry.id)).collect::<Vec<_>>()
    };
    let objects = |found: &[(String, String)]| found.iter().map(|one| one.0.clone()).collect::<String>();
    let page = find(AuditFilter::default()).await;
    assert_eq!(objects(&page), "43");
    let page = find(AuditFilter { before: Some(&page[1].1), ..AuditFilter::default() }).await;
    assert_eq!(objects(&page), "21");
    assert_eq!(objects(&find(AuditFilter { user: Some(&ann.id), ..AuditFilter::default() }).await), "42");
    assert_eq!(objects(&find(AuditFilter { action: Some("orders."), ..AuditFilter::default() }).await), "31");
    assert_eq!(objects(&find(AuditFilter { action: Some("%"), ..AuditFilter::default() }).await), "");
    let whole = AuditFilter::default();
    let between = AuditFilter { from: Some(at(1).as_nanos()), to: Some(at(3).as_nanos()), ..whole };
    let times: Vec<_> = state.audit(between, 9).await.unwrap().iter().map(|entry| entry.ts).collect();
    assert_eq!(times, [at(2).as_nanos(), at(1).as_nanos()]);
    assert!(state.audit(AuditFilter { object: Some("none"), ..whole }, 9).await.unwrap().is_empty());
    assert!(state.audit(whole, 9).await.unwrap().iter().all(|entry| entry.detail.is_none()));
    assert_eq!(state.trim_audit(at(3)).await.unwrap(), 3);
    assert_eq!(objects(&find(AuditFilter::default()).await), "43");
}

async fn the_system_log_is_filtered_and_paged(Fixture { state, .. }: Fixture) {
    let entry = |n: i64, level: i64, target: &str, message: &str, fields: &str| SystemEntry {
        id: format!("{n:04}"),
        ts: at(n).as_nanos(),
        node: "a".to_owned(),
        level,
        target: target.to_owned(),
        message: message.to_owned(),
        fields: fields.to_owned(),
    };
    let entries = [
        entry(1, 3, "tradeflow_ingest::feed", "it begins", "{}"),
        entry(2, 2, "tradeflow_ingest", "100% of it_s Late", r#"{"symbol":"BTCUSD"}"#),
        entry(3, 1, "tradeflow_live", "it fails", "{}"),
        entry(4, 3, "tradeflow_live", "100 of it is late", "{}"),
    ];
    state.add_system_entries(&entries).await.unwrap();
    // What is written again because the answer was lost is there once.
    state.add_system_entries(&entries[..2]).await.unwrap();
    let all = SystemFilter::default();
    for (filter, expected) in [
        (all, vec![4, 3, 2, 1]),
        (SystemFilter { level: Some(2), ..all }, vec![3, 2]),
        (SystemFilter { level: Some(1), ..all }, vec![3]),
        (SystemFilter { target: Some("tradeflow_ingest"), ..all }, vec![2, 1]),
        (SystemFilter { target: Some("tradeflow_%"), ..all }, vec![]),
        (SystemFilter { text: Some("LATE"), ..all }, vec![4, 2]),
        (SystemFilter { text: Some("100%"), ..all }, vec![2]),
        (SystemFilter { text: Some("it_"), ..all }, vec![2]),
        (SystemFilter { text: Some("btcusd"), ..all }, vec![2]),
        (SystemFilter { text: Some("!"), ..all }, vec![]),
        (SystemFilter { from: Some(at(2).as_nanos()), to: Some(at(4).as_nanos()), ..all }, vec![3, 2]),
        (SystemFilter { before: Some("0003"), ..all }, vec![2, 1]),
    ] {
        let found = state.system_entries(filter, 10).await.unwrap();
        let ids: Vec<i64> = found.iter().map(|entry| entry.id.parse().unwrap()).collect();
        assert_eq!(ids, expected, "{filter:?}");
    }
    assert_eq!(state.system_entries(all, 2).await.unwrap(), [entries[3].clone(), entries[2].clone()]);
    assert_eq!(state.trim_system_log(at(3)).await.unwrap(), 2);
    assert_eq!(state.system_entries(all, 9).await.unwrap().len(), 2);
}

async fn what_was_written_is_there_after_a_restart(Fixture { state, url, .. }: Fixture) {
    let ann = add(&state, "ann@example.org").await;
    state.ping().await.unwrap();
    state.close().await;
    assert!(matches!(state.ping().await, Err(StateError::Unavailable(_))));
    let again = State::open(&url).await.expect("migrations that ran are not run again");
    assert_eq!(again.user(&ann.id).await.unwrap(), ann);
}

async fn odd_texts_stay_texts(Fixture { state, .. }: Fixture) {
    let odd = "'; DROP TABLE users; -- \" \\ \u{1f600} %_ \n";
    let new = NewUser { email: "o@example.org", name: odd, password: odd, open: true };
    let user = state.add_user(at(0), new).await.unwrap().unwrap();
    assert_eq!(state.user(&user.id).await.unwrap().name, odd);
    let list = state.add_watchlist(at(0), &user.id, odd, &[odd.to_owned()]).await.unwrap();
    assert_eq!((list.name.as_str(), list.symbols[0].as_str()), (odd, odd));
    assert!(matches!(state.watchlist(&user.id, odd).await, Err(StateError::Missing(_))));
}

#[tokio::test]
async fn a_url_that_is_none_is_refused_without_its_password() {
    for (url, part) in [
        ("mysql://me:hunter2@h/db", "takes sqlite:"),
        ("nothing", "takes sqlite:"),
        ("sqlite:///no/such/folder/state.db", "/no/such/folder"),
    ] {
        let error = State::open(url).await.unwrap_err().to_string();
        assert!(error.contains(part) && !error.contains("hunter2"), "{error}");
    }
}

#[tokio::test]
async fn passwords_are_hashed_and_judged() {
    let hash = password::hash("correct horse battery 9").await.unwrap();
    assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "OWASP's least: {hash}");
    assert!(password::verify("correct horse battery 9", Some(&hash)).await.unwrap());
    assert!(!password::verify("correct horse battery 8", Some(&hash)).await.unwrap());
    assert!(!password::verify("correct horse battery 9", None).await.unwrap());
    assert!(!password::verify("x", Some("no hash")).await.unwrap());
    assert!(password::problems("correct horse battery 9", &["a@example.org"]).is_empty());
    for (bad, part) in [
        ("short", "fewer than 12"),
        ("passwordpassword", "guessed"),
        ("123456789012", "guessed"),
        ("annabelle-example", "guessed"),
    ] {
        let problems = password::problems(bad, &["annabelle@example.org"]);
        assert!(problems.iter().any(|problem| problem.contains(part)), "{bad}: {problems:?}");
    }
    assert!(password::problems(&"long ".repeat(100), &[])[0].contains("more than 256"));
}

/// A database that goes away and comes back: calls fail as such, and go on by themselves.
#[tokio::test(flavor = "multi_thread")]
async fn postgresql_may_go_and_come_back() {
    if std::env::var_os("TRADEFLOW_POSTGRES").is_some() {
        return eprintln!("skipped: the server is not ours to stop");
    }
    let mut server = postgres_server::Server::start();
    let state = State::open(server.url()).await.unwrap();
    let ann = add(&state, "ann@example.org").await;
    server.stop();
    let error = state.user(&ann.id).await.unwrap_err();
    assert!(matches!(error, StateError::Unavailable(_)), "{error}");
    server.restart();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        match state.user(&ann.id).await {
            Ok(found) => break assert_eq!(found, ann),
            Err(StateError::Unavailable(_)) if std::time::Instant::now() < deadline => {}
            Err(error) => panic!("{error}"),
        }
    }
}
