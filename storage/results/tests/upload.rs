//! Uploads that are repeated, interrupted, killed; servers that go away; folders that are damaged. Nothing is lost and
//! nothing is doubled.

mod clickhouse_server;
mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use clickhouse_server::Server;
use support::{copied, copy, generated, real};
use tradeflow_results::{
    ClickHouseRuns, ClickHouseUrl, Outcome, ParquetRuns, ResultsError, RowQuery, RunQuery, RunStore,
    UploadQueue, Uploaded,
};

/// Rows of a table by a statement of our own.
async fn count(url: &ClickHouseUrl, server: &str, from: &str) -> u64 {
    let database = url.to_string().rsplit('/').next().unwrap().to_owned();
    let client = clickhouse::Client::default().with_url(server).with_database(database);
    client.query(&format!("SELECT count() FROM {from}")).fetch_one::<u64>().await.unwrap()
}

fn server_of(url: &ClickHouseUrl) -> String {
    let text = url.to_string();
    text[..text.rfind('/').unwrap()].to_owned()
}

/// Rows of a table in all folders, as their footers tell.
fn rows_in(root: &Path, table: &str) -> u64 {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    let folders = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    let files =
        folders.filter_map(|folder| std::fs::File::open(folder.join(format!("{table}.parquet"))).ok());
    files
        .map(|file| SerializedFileReader::new(file).unwrap().metadata().file_metadata().num_rows() as u64)
        .sum()
}

/// Everything both stores say of all runs is equal.
async fn assert_equal(root: &Path, url: &ClickHouseUrl) {
    let (parquet, server) = (ParquetRuns::new(root), ClickHouseRuns::open(url).await.unwrap());
    let all = RunQuery { limit: 10_000, ..RunQuery::default() };
    let runs = parquet.runs(&all).await.unwrap();
    assert_eq!(server.runs(&all).await.unwrap(), runs);
    let rows = RowQuery { limit: 10_000, ..RowQuery::default() };
    for run in runs.rows {
        let name = run.run.as_str();
        assert_eq!(server.summary(name).await.unwrap(), parquet.summary(name).await.unwrap());
        assert_eq!(server.orders(name, &rows).await.unwrap(), parquet.orders(name, &rows).await.unwrap());
        assert_eq!(server.fills(name, &rows).await.unwrap(), parquet.fills(name, &rows).await.unwrap());
        assert_eq!(server.trades(name, &rows).await.unwrap(), parquet.trades(name, &rows).await.unwrap());
        for account in &run.accounts {
            let curve = parquet.equity(name, Some(account), None).await.unwrap();
            assert_eq!(server.equity(name, Some(account), None).await.unwrap(), curve);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_may_be_repeated() {
    let Some(url) = clickhouse_server::database() else { return eprintln!("skipped: no ClickHouse") };
    let url: ClickHouseUrl = url.parse().unwrap();
    let (folder, run) = (copied(), real().names[0].as_str());
    let place = folder.path().join(run);
    let server = ClickHouseRuns::open(&url).await.unwrap();
    let Uploaded::Done { rows } = server.upload(&place, run).await.unwrap() else {
        panic!("it is not there yet")
    };
    assert_eq!(server.upload(&place, run).await.unwrap(), Uploaded::AlreadyThere);
    // Without its last word the run is not there, and its rows are sent again: they are there once all the same.
    let address = server_of(&url);
    let client = clickhouse::Client::default().with_url(&address);
    let database = url.to_string().rsplit('/').next().unwrap().to_owned();
    client.query(&format!("TRUNCATE TABLE {database}.runs")).execute().await.unwrap();
    assert!(matches!(server.summary(run).await, Err(ResultsError::Missing(_))));
    assert!(matches!(server.fills(run, &RowQuery::default()).await, Err(ResultsError::Missing(_))));
    assert_eq!(server.upload(&place, run).await.unwrap(), Uploaded::Done { rows });
    let mut there = 0;
    for table in ["equity", "orders", "fills", "trades"] {
        there += count(&url, &address, &format!("{table} FINAL")).await;
    }
    assert_eq!(there, rows);
    for other in &real().names {
        server.upload(&folder.path().join(other), other).await.unwrap();
    }
    assert_equal(folder.path(), &url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_made_again_replaces_itself() {
    let Some(url) = clickhouse_server::database() else { return eprintln!("skipped: no ClickHouse") };
    let url: ClickHouseUrl = url.parse().unwrap();
    let (folder, run) = (copied(), real().names[0].as_str());
    let queue = UploadQueue::new(folder.path(), url.clone());
    assert_eq!(queue.sync(|_, _| {}).await.unwrap().uploaded, real().names.len() as u64);
    assert_eq!(queue.sync(|_, _| panic!("nothing has changed")).await.unwrap().uploaded, 0);
    // Another version of the program made other tables of the same plan, later.
    let (place, other) = (folder.path().join(run), real().root.join(&real().names[1]));
    let text = std::fs::read_to_string(place.join("summary.json")).unwrap();
    let mut summary: serde_json::Value = serde_json::from_str(&text).unwrap();
    summary["finished"] = "2200-01-01T00:00:00Z".into();
    let fresh = folder.path().join(".fresh");
    copy(&other, &fresh);
    std::fs::write(fresh.join("summary.json"), summary.to_string()).unwrap();
    std::fs::remove_dir_all(&place).unwrap();
    std::fs::rename(&fresh, &place).unwrap();
    let synced = queue.sync(|_, _| {}).await.unwrap();
    assert_eq!((synced.uploaded, synced.set_aside, synced.waiting), (1, vec![], vec![]));
    assert_equal(folder.path(), &url).await;
    let server = ClickHouseRuns::open(&url).await.unwrap();
    for table in ["equity", "orders", "fills", "trades"] {
        let there = count(&url, &server_of(&url), &format!("{table} FINAL")).await;
        assert_eq!(there, rows_in(folder.path(), table), "the rows that no run names are gone from {table}");
    }
    // The older result, from another machine, does not come back.
    let older = server.upload(&real().root.join(run), run).await.unwrap();
    assert_eq!(older, Uploaded::Superseded);
    assert_equal(folder.path(), &url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_queues_on_disk_and_catches_up() {
    if clickhouse_server::is_off() {
        return eprintln!("skipped: no ClickHouse");
    }
    let mut server = Server::start();
    let url: ClickHouseUrl = format!("{}/outage", server.url()).parse().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let queue = UploadQueue::new(folder.path(), url.clone());
    let take = |run: &str| {
        queue.add(run).unwrap();
        copy(&real().root.join(run), &folder.path().join(run));
    };
    take(&real().names[0]);
    assert_eq!(queue.sync_waiting(|_, _| {}).await.unwrap().uploaded, 1);
    server.stop();
    for run in &real().names[1..4] {
        take(run);
        let error = queue.sync_waiting(|_, _| panic!("it does not answer")).await.unwrap_err();
        assert!(matches!(error, ResultsError::Unavailable { .. }), "{error}");
    }
    // Another program finds the same queue.
    let queue = UploadQueue::new(folder.path(), url.clone());
    let mut waiting = real().names[1..4].to_vec();
    waiting.sort();
    assert_eq!(queue.waiting().unwrap(), waiting);
    server.restart();
    assert_eq!(queue.sync_waiting(|_, _| {}).await.unwrap().uploaded, 3);
    assert_eq!(queue.waiting().unwrap(), Vec::<String>::new());
    assert_equal(folder.path(), &url).await;
    // A run that nobody noted is found by its folder.
    copy(&real().root.join(&real().names[4]), &folder.path().join(&real().names[4]));
    assert_eq!(queue.sync_waiting(|_, _| {}).await.unwrap().uploaded, 0);
    assert_eq!(queue.sync(|_, _| {}).await.unwrap().uploaded, 1);
    assert_equal(folder.path(), &url).await;
}

/// Lets so many bytes from clients through to a server, and then no more: connections stand still.
struct Valve {
    left: Arc<AtomicI64>,
    url: String,
}

impl Valve {
    fn open(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (left, to) =
            (Arc::new(AtomicI64::new(i64::MAX)), server.trim_start_matches("http://").to_owned());
        let gate = left.clone();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (client, server) = (client.unwrap(), TcpStream::connect(&to).unwrap());
                let (mut back_from, mut back_to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut back_from, &mut back_to);
                    let _ = back_to.shutdown(Shutdown::Both);
                });
                let gate = gate.clone();
                std::thread::spawn(move || through(client, server, &gate));
            }
        });
        Self { left, url }
    }
}

fn through(mut client: TcpStream, mut server: TcpStream, left: &AtomicI64) {
    let mut piece = [0; 1024];
    while let Ok(size @ 1..) = client.read(&mut piece) {
        if left.fetch_sub(size as i64, Ordering::SeqCst) < size as i64 {
            // The rest is held back until the client is gone.
            while matches!(client.read(&mut piece), Ok(1..)) {}
            break;
        }
        if server.write_all(&piece[..size]).is_err() {
            break;
        }
    }
    let _ = server.shutdown(Shutdown::Both);
}

const UPLOADER: &str = "TRADEFLOW_TEST_UPLOADER";

/// Not a test: what `a_killed_uploader_…` starts and kills.
#[tokio::test]
async fn uploader() {
    let Ok(given) = std::env::var(UPLOADER) else { return };
    let (root, url) = given.split_once('\n').unwrap();
    let queue = UploadQueue::new(root, url.parse().unwrap());
    let synced = queue.sync(|_, _| {}).await.unwrap();
    println!("uploaded {}", synced.uploaded);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_uploader_loses_nothing_and_doubles_nothing() {
    if clickhouse_server::is_off() {
        return eprintln!("skipped: no ClickHouse");
    }
    let server = Server::start();
    let valve = Valve::open(server.url());
    let folder = copied();
    let url: ClickHouseUrl = format!("{}/killed", valve.url).parse().unwrap();
    ClickHouseRuns::open(&url).await.unwrap();
    // How much there is to send in all.
    let whole = {
        let measured: ClickHouseUrl = format!("{}/measured", valve.url).parse().unwrap();
        ClickHouseRuns::open(&measured).await.unwrap();
        let other = copied();
        valve.left.store(i64::MAX, Ordering::SeqCst);
        UploadQueue::new(other.path(), measured).sync(|_, _| {}).await.unwrap();
        i64::MAX - valve.left.load(Ordering::SeqCst)
    };
    let mut kills = 0;
    for part in [1, 2, 4, 9, 16, 25, 36, 49, 64, 81] {
        valve.left.store(whole * part / 300, Ordering::SeqCst);
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "uploader", "--nocapture"])
            .env(UPLOADER, format!("{}\n{}/killed", folder.path().display(), valve.url))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while valve.left.load(Ordering::SeqCst) > 0 && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        if child.try_wait().unwrap().is_none() {
            kills += 1;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What is there is whole.
        valve.left.store(i64::MAX, Ordering::SeqCst);
        let there = ClickHouseRuns::open(&url).await.unwrap();
        let runs = there.runs(&RunQuery { limit: 1_000, ..RunQuery::default() }).await.unwrap().rows;
        let files = ParquetRuns::new(folder.path());
        for run in &runs {
            let rows = RowQuery { limit: 10_000, ..RowQuery::default() };
            assert_eq!(
                there.fills(&run.run, &rows).await.unwrap(),
                files.fills(&run.run, &rows).await.unwrap()
            );
        }
    }
    assert!(kills >= 8, "it was killed on its way {kills} times");
    let queue = UploadQueue::new(folder.path(), url.clone());
    queue.sync(|_, outcome| assert!(matches!(outcome, Outcome::Uploaded(_)))).await.unwrap();
    assert_equal(folder.path(), &url).await;
    assert_eq!(count(&url, server.url(), "runs FINAL").await, real().names.len() as u64);
    for table in ["equity", "orders", "fills", "trades"] {
        let there = count(&url, server.url(), &format!("{table} FINAL")).await;
        assert_eq!(there, rows_in(folder.path(), table), "{table}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_folder_is_set_aside_and_stops_no_other() {
    let Some(url) = clickhouse_server::database() else { return eprintln!("skipped: no ClickHouse") };
    let url: ClickHouseUrl = url.parse().unwrap();
    let folder = copied();
    let at = |name: &str, file: &str| folder.path().join(name).join(file);
    let damaged =
        ["a_cut", "b_missing", "c_noise", "d_other_columns", "e_no_json", "f_empty", "zz_cut_summary"];
    for (number, name) in damaged.iter().enumerate() {
        generated(folder.path(), name, |summary| summary["seed"] = number.into());
    }
    let replace = |name: &str, file: &str, bytes: &[u8]| {
        std::fs::remove_file(at(name, file)).unwrap();
        std::fs::write(at(name, file), bytes).unwrap();
    };
    let fills = std::fs::read(at("a_cut", "fills.parquet")).unwrap();
    replace("a_cut", "fills.parquet", &fills[..fills.len() / 2]);
    std::fs::remove_file(at("b_missing", "trades.parquet")).unwrap();
    let mut noise = fills.clone();
    for (index, byte) in noise.iter_mut().enumerate().skip(4).step_by(7) {
        *byte ^= (index % 251) as u8;
    }
    replace("c_noise", "fills.parquet", &noise);
    replace("d_other_columns", "fills.parquet", &std::fs::read(at("a_cut", "orders.parquet")).unwrap());
    replace("e_no_json", "summary.json", b"no json");
    replace("f_empty", "equity.parquet", b"");
    replace("zz_cut_summary", "summary.json", b"{\"version\": \"0.1.0\"}");
    std::fs::create_dir(folder.path().join("no run at all")).unwrap();

    let queue = UploadQueue::new(folder.path(), url.clone());
    let synced = queue.sync(|_, _| {}).await.unwrap();
    assert_eq!(synced.uploaded, real().names.len() as u64);
    let aside: Vec<_> = synced.set_aside.iter().map(|skipped| skipped.run.as_str()).collect();
    assert_eq!(aside, damaged);
    for (skipped, what) in synced.set_aside.iter().zip([
        "fills.parquet",
        "trades.parquet",
        "fills.parquet",
        "fills.parquet",
        "summary.json",
        "equity.parquet",
        "summary.json",
    ]) {
        assert!(skipped.reason.contains(&format!("{}/{what}", skipped.run)), "{}", skipped.reason);
    }
    // They are told again, and not sent again.
    let again = queue.sync(|run, _| panic!("{run} is sent again")).await.unwrap();
    assert_eq!(again.set_aside, synced.set_aside);
    // The questions about folders leave out those without a summary, and say so.
    let files = ParquetRuns::new(folder.path());
    let left_out: Vec<_> = files.damaged().await.unwrap().into_iter().map(|(run, _)| run).collect();
    assert_eq!(left_out, ["e_no_json", "zz_cut_summary"]);
    // One that is repaired goes.
    replace("a_cut", "fills.parquet", &fills);
    queue.retry_set_aside().unwrap();
    let repaired = queue.sync(|_, _| {}).await.unwrap();
    assert_eq!((repaired.uploaded, repaired.set_aside.len()), (1, damaged.len() - 1));
    // Another plan under the name of a run that is there is not taken for it.
    replace("a_cut", "summary.json", b"");
    generated_over(folder.path(), "a_cut");
    let other = queue.sync(|_, _| {}).await.unwrap();
    assert!(
        other.set_aside.iter().any(|s| s.run == "a_cut" && s.reason.contains("another plan")),
        "{other:?}"
    );
}

/// A run of another plan in the place of one.
fn generated_over(root: &Path, name: &str) {
    std::fs::remove_dir_all(root.join(name)).unwrap();
    generated(root, name, |summary| summary["config_digest"] = "0".repeat(64).into());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_in_no_error_and_a_wrong_one_is_refused() {
    if clickhouse_server::is_off() {
        return eprintln!("skipped: no ClickHouse");
    }
    // Nothing listens there: the port was free a moment ago, and is of this process.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    let url: ClickHouseUrl = format!("http://ann:hush%40hush@127.0.0.1:{port}/x").parse().unwrap();
    let error = ClickHouseRuns::open(&url).await.err().unwrap();
    assert!(matches!(error, ResultsError::Unavailable { .. }), "{error}");
    for text in [error.to_string(), format!("{error:?}"), format!("{url:?} {url}")] {
        assert!(!text.contains("hush"), "{text}");
        assert!(text.contains("127.0.0.1"), "{text}");
    }
    // A server that asks for one.
    let server = Server::start_for("ann", "hush@hush");
    let at = |user: &str| -> ClickHouseUrl {
        server.url().replace("http://", &format!("http://{user}@")).parse().expect("an address")
    };
    for wrong in ["ann:hush", "ann", "bob:hush%40hush"] {
        let error = ClickHouseRuns::open(&at(wrong)).await.err().unwrap();
        assert!(matches!(error, ResultsError::Server { .. }), "{error}");
        assert!(
            error.to_string().contains("Authentication failed") && !error.to_string().contains("hush"),
            "{error}"
        );
    }
    let folder = copied();
    let queue = UploadQueue::new(folder.path(), at("ann:hush"));
    // Nothing is set aside for it, and what is on disk does not tell the password.
    assert!(matches!(queue.sync(|_, _| {}).await, Err(ResultsError::Server { .. })));
    let queue = UploadQueue::new(folder.path(), at("ann:hush%40hush"));
    assert_eq!(queue.sync(|_, _| {}).await.unwrap().uploaded, real().names.len() as u64);
    let notes =
        std::fs::read_dir(folder.path().join(".clickhouse")).unwrap().map(|entry| entry.unwrap().path());
    for note in notes.flat_map(|folder| std::fs::read_dir(folder).unwrap()) {
        assert!(!std::fs::read_to_string(note.unwrap().path()).unwrap().contains("hush"));
    }
}
