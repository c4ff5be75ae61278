//! What the suites share: databases, and the same tests on both.

#![allow(dead_code, reason = "each suite uses a part")]

#[path = "../postgres_server/mod.rs"]
pub mod postgres_server;

use std::sync::Mutex;

use tradeflow_state::State;

/// A database of a test.
pub struct Fixture {
    pub state: State,
    pub url: String,
    _folder: Option<tempfile::TempDir>,
}

pub async fn sqlite() -> Option<Fixture> {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("state.db").display());
    Some(Fixture { state: State::open(&url).await.unwrap(), url, _folder: Some(folder) })
}

pub async fn postgres() -> Option<Fixture> {
    static SERVER: Mutex<Option<postgres_server::Server>> = Mutex::new(None);
    let given = std::env::var("TRADEFLOW_POSTGRES").ok();
    let base = match given.as_deref() {
        Some("none") => return None,
        Some(url) => url.to_owned(),
        None => {
            let mut server = SERVER.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            server.get_or_insert_with(postgres_server::Server::start).url().to_owned()
        }
    };
    let name = format!("tradeflow_test_{}_{}", std::process::id(), postgres_server::number());
    sqlx::any::install_default_drivers();
    let admin = sqlx::AnyPool::connect(&base).await.expect("PostgreSQL answers");
    let create = format!("CREATE DATABASE {name}");
    sqlx::query(sqlx::AssertSqlSafe(create)).execute(&admin).await.expect("a database");
    let (address, options) = base
        .split_once('?')
        .map_or((base.as_str(), String::new()), |(address, options)| (address, format!("?{options}")));
    let url = format!("{}/{name}{options}", &address[..address.rfind('/').unwrap()]);
    Some(Fixture { state: State::open(&url).await.expect("it opens"), url, _folder: None })
}

/// The same tests on both databases.
macro_rules! suite {
    ($($test:ident),* $(,)?) => {
        mod on_sqlite { $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $test() { super::$test(crate::kit::sqlite().await.unwrap()).await }
        )* }
        mod on_postgres { $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                let Some(fixture) = crate::kit::postgres().await else { return eprintln!("skipped: no PostgreSQL") };
                super::$test(fixture).await
            }
        )* }
    };
}
pub(crate) use suite;
