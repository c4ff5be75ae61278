//! Sealed secrets and second factors, on SQLite and on PostgreSQL.

mod kit;

use kit::{Fixture, suite};
use sqlx::Row;
use tradeflow_model::Timestamp;
use tradeflow_state::{
    AlertRow, KeyRing, NewUser, ProviderLogin, Role, SealError, Sealed, State, StateError, Target, User,
    UserChange,
};

const SECOND: i64 = 1_000_000_000;
const A: &str = "a:QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=";
const B: &str = "b:QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI=";

suite!(
    codes_are_those_of_the_standard_and_good_once,
    of_codes_at_once_one_is_good,
    a_second_factor_from_its_beginning_to_its_end,
    credentials_are_kept_sealed,
    rows_can_not_be_swapped,
    secrets_are_sealed_anew_all_or_none,
    credentials_are_bounded,
    a_provider_knows_users_by_subject,
    a_log_in_by_a_provider_is_taken_once,
);

fn at(secs: i64) -> Timestamp {
    Timestamp::from_nanos(secs * SECOND)
}

fn keys(text: &str) -> KeyRing {
    KeyRing::parse(text).unwrap()
}

async fn add(state: &State, email: &str) -> User {
    let new = NewUser { email, name: "", password: "hash", open: true };
    state.add_user(at(0), new).await.unwrap().unwrap()
}

/// The database itself, as a thief has it.
async fn raw(url: &str) -> sqlx::AnyPool {
    sqlx::any::install_default_drivers();
    sqlx::AnyPool::connect(url).await.unwrap()
}

/// The user with the secret of RFC 6238's test vectors.
async fn with_known_secret(state: &State, url: &str, keys: &KeyRing) -> User {
    let user = add(state, "ann@example.org").await;
    let Sealed { key, text } = keys.seal(&["second_factors", &user.id], b"12345678901234567890").unwrap();
    let insert = "INSERT INTO second_factors (user_id, key_id, ciphertext, created) VALUES ($1, $2, $3, 0)";
    sqlx::query(insert).bind(&user.id).bind(key).bind(text).execute(&raw(url).await).await.unwrap();
    user
}

/// Appendix B of RFC 6238, SHA-1; of its eight digits the last six.
async fn codes_are_those_of_the_standard_and_good_once(Fixture { state, url, .. }: Fixture) {
    let keys = keys(A);
    let user = with_known_secret(&state, &url, &keys).await;
    let spend = |secs, code: &'static str| state.spend_code(at(secs), &keys, &user, code);
    for (secs, code) in [
        (59, "287082"),
        (1_111_111_109, "081804"),
        (1_111_111_111, "050471"),
        (1_234_567_890, "005924"),
        (2_000_000_000, "279037"),
    ] {
        assert!(!spend(secs + 60, code).await.unwrap(), "{code} is over after a step more");
        assert!(secs < 60 || !spend(secs - 60, code).await.unwrap(), "{code} is not yet");
        assert!(spend(secs, code).await.unwrap(), "{code}");
        assert!(!spend(secs, code).await.unwrap(), "{code} was used");
        assert!(!spend(secs + 30, code).await.unwrap(), "{code} was used");
    }
    // With a newer code those before it are spent.
    assert!(!spend(1_234_567_890, "005924").await.unwrap());
    for bad in ["", "279036", "2790370", "27903", "abcdef", "279037\0", "２７９０３７", "-79037"] {
        assert!(!spend(2_000_000_000, bad).await.unwrap_or(false), "{bad:?}");
    }
}

async fn of_codes_at_once_one_is_good(Fixture { state, url, .. }: Fixture) {
    let keys = keys(A);
    let user = with_known_secret(&state, &url, &keys).await;
    let tries = (0..8).map(|_| {
        let (state, keys, user) = (state.clone(), keys.clone(), user.clone());
        tokio::spawn(async move { state.spend_code(at(59), &keys, &user, "287082").await.unwrap() })
    });
    let mut good = 0;
    for tried in tries.collect::<Vec<_>>() {
        good += u32::from(tried.await.unwrap());
    }
    assert_eq!(good, 1);
}

/// The code of a secret in base32 at a time, by the crate itself: what it computes the test above checks.
fn code(secret: &str, at: Timestamp) -> String {
    let secret = totp_rs::Secret::try_from_base32(secret).unwrap();
    let totp = totp_rs::Builder::new().with_secret(secret).with_account_name("a").build().unwrap();
    totp.generate((at.as_nanos() / SECOND) as u64).to_string()
}

async fn a_second_factor_from_its_beginning_to_its_end(Fixture { state, .. }: Fixture) {
    let (keys, now) = (keys(A), at(1_760_000_000));
    let user = add(&state, "ann@example.org").await;
    assert_eq!(state.second_factor(&user.id).await.unwrap(), None);
    let wrong = state.confirm_second_factor(now, &keys, &user, "000000").await;
    assert!(matches!(wrong, Err(StateError::Missing(_))));
    let first = state.begin_second_factor(now, &keys, &user).await.unwrap();
    let second = state.begin_second_factor(now, &keys, &user).await.unwrap();
    assert_ne!(first.secret, second.secret, "one that was not confirmed is replaced");
    assert!(
        second.url.starts_with("otpauth://totp/") && second.url.contains(&second.secret),
        "{}",
        second.url
    );
    let wrong = state.confirm_second_factor(now, &keys, &user, &code(&first.secret, now)).await.unwrap();
    assert_eq!(wrong, None);
    assert!(!state.second_factor(&user.id).await.unwrap().unwrap().confirmed);
    let codes = state.confirm_second_factor(now, &keys, &user, &code(&second.secret, now)).await.unwrap();
    let codes = codes.expect("it is confirmed");
    let stands = state.second_factor(&user.id).await.unwrap().unwrap();
    assert_eq!((stands.confirmed, stands.codes_left, codes.len()), (true, 10, 10));
    assert!(matches!(state.begin_second_factor(now, &keys, &user).await, Err(StateError::Exists(_))));
    let again = state.confirm_second_factor(now, &keys, &user, &code(&second.secret, now)).await;
    assert!(matches!(again, Err(StateError::Exists(_))));
    // A recovery code, as it may be typed: once, and by its user.
    let other = add(&state, "bob@example.org").await;
    let typed = codes[3].to_uppercase().replace('-', " ");
    assert!(!state.spend_code(now, &keys, &other, &typed).await.unwrap());
    assert!(state.spend_code(now, &keys, &user, &typed).await.unwrap());
    assert!(!state.spend_code(now, &keys, &user, &codes[3]).await.unwrap());
    let renewed = state.renew_recovery_codes(&user.id).await.unwrap();
    assert!(!state.spend_code(now, &keys, &user, &codes[4]).await.unwrap());
    assert!(state.spend_code(now, &keys, &user, &renewed[4]).await.unwrap());
    // Without its key nothing opens, and no code is good.
    let lost = state.spend_code(at(1_760_000_060), &keys_of_another(), &user, "000000").await;
    assert!(matches!(lost, Err(StateError::Seal(SealError::UnknownKey(_)))));
    state.remove_second_factor(&user.id).await.unwrap();
    assert_eq!(state.second_factor(&user.id).await.unwrap(), None);
    assert!(!state.spend_code(now, &keys, &user, &renewed[5]).await.unwrap());
    assert!(matches!(state.remove_second_factor(&user.id).await, Err(StateError::Missing(_))));
}

fn keys_of_another() -> KeyRing {
    keys(B)
}

const PLACE: (&str, &str, &str) = ("paper", "alpaca", "secret");

async fn credentials_are_kept_sealed(Fixture { state, url, .. }: Fixture) {
    let keys = keys(A);
    state.put_credential(at(1), &keys, PLACE, "hush-hush ✓").await.unwrap();
    assert_eq!(*state.open_credential(&keys, PLACE).await.unwrap(), "hush-hush ✓");
    state.put_credential(at(2), &keys, PLACE, "another").await.unwrap();
    assert_eq!(*state.open_credential(&keys, PLACE).await.unwrap(), "another");
    let (listed, none) =
        (state.credentials("paper").await.unwrap(), state.credentials("other").await.unwrap());
    assert_eq!(listed.len() + none.len(), 1);
    assert_eq!((listed[0].created, listed[0].rotated), (SECOND, 2 * SECOND));
    let row = sqlx::query("SELECT ciphertext, key_id FROM broker_credentials")
        .fetch_one(&raw(&url).await)
        .await
        .unwrap();
    assert!(!row.get::<String, _>(0).contains("another") && row.get::<String, _>(1) == "a");
    assert_eq!(state.keys_in_use().await.unwrap(), ["a"]);
    state.remove_credential("paper", "alpaca", "secret").await.unwrap();
    assert!(matches!(state.open_credential(&keys, PLACE).await, Err(StateError::Missing(_))));
    assert!(matches!(
        state.remove_credential("paper", "alpaca", "secret").await,
        Err(StateError::Missing(_))
    ));
    let unkeyed = state.put_credential(at(1), &KeyRing::default(), PLACE, "x").await;
    assert!(matches!(unkeyed, Err(StateError::Seal(SealError::NoKey))));
}

async fn rows_can_not_be_swapped(Fixture { state, url, .. }: Fixture) {
    let keys = keys(A);
    let other = ("other", "alpaca", "secret");
    state.put_credential(at(1), &keys, PLACE, "of paper").await.unwrap();
    state.put_credential(at(1), &keys, other, "of other").await.unwrap();
    let copy = "UPDATE broker_credentials SET ciphertext = (SELECT ciphertext FROM broker_credentials WHERE account = 'paper')
                WHERE account = 'other'";
    sqlx::query(copy).execute(&raw(&url).await).await.unwrap();
    let opened = state.open_credential(&keys, other).await;
    assert!(matches!(opened, Err(StateError::Seal(SealError::Broken))));
    assert_eq!(*state.open_credential(&keys, PLACE).await.unwrap(), "of paper");
}

async fn secrets_are_sealed_anew_all_or_none(Fixture { state, url, .. }: Fixture) {
    let (old, both, new) = (keys(A), keys(&format!("{B},{A}")), keys(B));
    let user = with_known_secret(&state, &url, &old).await;
    for number in 0..5 {
        let name = format!("n{number}");
        state.put_credential(at(1), &old, ("paper", "alpaca", &name), &name).await.unwrap();
    }
    // Of webhooks, one as it was kept before they were sealed.
    let of_alert = "INSERT INTO alerts (id, user_id, name, rule, repeats, pause, enabled, mail, webhook_url, webhook_secret,
                    created, changed, fires, seen, progress) VALUES ($1, $2, '', '{}', 0, 0, 1, 0, '', 'tfw', 1, 1, 0, 0, '{}')";
    for alert in ["sealed", "plain"] {
        sqlx::query(of_alert).bind(alert).bind(&user.id).execute(&raw(&url).await).await.unwrap();
    }
    let mut sealed = state.alert(&user.id, "sealed").await.unwrap();
    sealed.seal_secret(&old, "tfw").unwrap();
    state.change_alert(&sealed).await.unwrap();
    let before = state.keys_in_use().await.unwrap();
    assert!(
        matches!(state.reseal(&new).await, Err(StateError::Seal(SealError::UnknownKey(id))) if id == "a")
    );
    assert_eq!(state.keys_in_use().await.unwrap(), before, "nothing is changed when one does not open");
    assert_eq!(state.reseal(&both).await.unwrap(), 8);
    assert_eq!(state.reseal(&both).await.unwrap(), 0);
    assert_eq!(state.keys_in_use().await.unwrap(), ["b"]);
    for number in 0..5 {
        let name = format!("n{number}");
        assert_eq!(*state.open_credential(&new, ("paper", "alpaca", &name)).await.unwrap(), name);
    }
    assert!(state.spend_code(at(59), &new, &user, "287082").await.unwrap());
    for alert in ["sealed", "plain"] {
        let AlertRow { webhook_key, webhook_secret, .. } = state.alert(&user.id, alert).await.unwrap();
        assert!(webhook_key.as_deref() == Some("b") && !webhook_secret.as_ref().unwrap().contains("tfw"));
        let target = Target {
            alert_id: alert.to_owned(),
            email: String::new(),
            webhook_url: None,
            webhook_secret,
            webhook_key,
        };
        assert_eq!(target.open_secret(&new).unwrap().unwrap().as_slice(), b"tfw");
        let swapped = Target { alert_id: "other".to_owned(), ..target };
        assert!(matches!(swapped.open_secret(&new), Err(SealError::Broken)));
    }
}

async fn credentials_are_bounded(Fixture { state, .. }: Fixture) {
    let keys = keys(A);
    for number in 0..100 {
        state.put_credential(at(1), &keys, ("paper", "alpaca", &format!("n{number}")), "x").await.unwrap();
    }
    let more = state.put_credential(at(1), &keys, ("paper", "alpaca", "more"), "x").await;
    assert!(matches!(more, Err(StateError::Invalid(_))));
    state.put_credential(at(1), &keys, ("paper", "alpaca", "n7"), "y").await.unwrap();
    assert_eq!(state.credentials("paper").await.unwrap().len(), 100);
}

const ISSUER: &str = "https://login.example.org";

async fn a_provider_knows_users_by_subject(Fixture { state, .. }: Fixture) {
    let ann = add(&state, "ann@example.org").await;
    assert_eq!(state.user_of_identity(ISSUER, "1").await.unwrap(), None);
    state.add_identity(at(1), ISSUER, "1", &ann.id).await.unwrap();
    assert_eq!(state.user_of_identity(ISSUER, "1").await.unwrap().as_ref(), Some(&ann));
    assert_eq!(state.user_of_identity("https://other.example.org", "1").await.unwrap(), None);
    let taken = state.add_identity(at(1), ISSUER, "1", &add(&state, "bob@example.org").await.id).await;
    assert!(matches!(taken, Err(StateError::Exists(_))));
    let new = |subject, email| state.add_user_of_identity(at(2), (ISSUER, subject), email, "", Role::Viewer);
    assert!(matches!(new("2", "Ann@example.org").await, Err(StateError::Exists(_))), "the email is there");
    assert!(matches!(new("1", "c@example.org").await, Err(StateError::Exists(_))), "the subject is there");
    let carl = new("2", "Carl@Example.org").await.unwrap();
    assert_eq!((carl.email.as_str(), carl.role), ("carl@example.org", Role::Viewer));
    assert_eq!(state.user_of_identity(ISSUER, "2").await.unwrap(), Some(carl.clone()));
    assert!(state.attempt("carl@example.org").await.unwrap().unwrap().password.is_empty());
    let alone = state.remove_identities(ISSUER, &carl.id).await;
    assert!(matches!(alone, Err(StateError::Invalid(_))), "he could not log in any more");
    state.set_password(&carl.id, "hash", "").await.unwrap();
    state.remove_identities(ISSUER, &carl.id).await.unwrap();
    assert!(matches!(state.remove_identities(ISSUER, &carl.id).await, Err(StateError::Missing(_))));
    let disabled = UserChange { disabled: Some(true), ..UserChange::default() };
    state.change_user(&carl.id, disabled).await.unwrap();
    assert_eq!(state.user_of_identity(ISSUER, "1").await.unwrap(), Some(ann));
}

async fn a_log_in_by_a_provider_is_taken_once(Fixture { state, url, .. }: Fixture) {
    let login = ProviderLogin {
        provider: "own".to_owned(),
        nonce: "nonce".to_owned(),
        verifier: "verifier".to_owned(),
        target: Some("/".to_owned()),
        begun_by: None,
    };
    let other = ProviderLogin { target: None, begun_by: Some("someone".to_owned()), ..login.clone() };
    state.begin_provider_login(at(0), "secret state", &login).await.unwrap();
    state.begin_provider_login(at(0), "other", &other).await.unwrap();
    let kept =
        sqlx::query("SELECT state_hash FROM provider_logins").fetch_all(&raw(&url).await).await.unwrap();
    assert!(kept.len() == 2 && kept.iter().all(|row| !row.get::<String, _>(0).contains("state")));
    let tries = (0..8).map(|_| {
        let state = state.clone();
        tokio::spawn(async move { state.take_provider_login(at(1), "secret state").await.unwrap() })
    });
    let mut taken = Vec::new();
    for tried in tries.collect::<Vec<_>>() {
        taken.extend(tried.await.unwrap());
    }
    assert_eq!(taken, [login]);
    assert_eq!(state.take_provider_login(at(601), "other").await.unwrap(), None, "its time is over");
    assert_eq!(state.take_provider_login(at(600), "other").await.unwrap(), Some(other));
}
