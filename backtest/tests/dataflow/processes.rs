//! Several processes over TCP: this test program starts itself again as the processes of a cluster.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use socket2::{Domain, Socket, Type};
use tradeflow_backtest::dataflow::{Cluster, DataflowError, Outcome, Place, Timeouts, spawn_local};

use crate::synthetic::{Driver, Fault, Spec, digest, execute, expected, seed};

const ROLE: &str = "DATAFLOW_TEST_PROCESS";
const WATCHDOG: Duration = Duration::from_secs(120);

/// What a process of a test cluster is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Member {
    process: usize,
    hosts: Vec<String>,
    workers: usize,
    plan_digest: [u8; 32],
    timeouts: Timeouts,
    spec: Spec,
    /// Start the others itself, as children.
    spawns: bool,
}

/// What it tells in the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Report {
    result: Result<Outcome, DataflowError>,
    digest: String,
    calls: usize,
    alive_max: usize,
}

/// Not a test: what a process of a cluster runs.
#[test]
#[ignore = "run by the other tests, as a process of a cluster"]
fn member() {
    let Ok(told) = std::env::var(ROLE) else {
        println!("skipped: only of use as a process that another test starts");
        return;
    };
    let member: Member = serde_json::from_str(&told).unwrap();
    let mut cluster = if member.spawns {
        let make = |process, hosts: &[String]| {
            let mut child =
                command(&Member { process, hosts: hosts.to_vec(), spawns: false, ..member.clone() });
            // What the test reads is said by this process.
            child.stdout(Stdio::null());
            child
        };
        spawn_local(member.hosts.len(), member.workers, member.plan_digest, make).unwrap()
    } else {
        Cluster::member(member.process, member.hosts.clone(), member.workers, member.plan_digest)
    };
    cluster.timeouts = member.timeouts;
    for (process, id) in cluster.children() {
        println!("\nCHILD {process} {id}");
    }
    let mut told = false;
    let progress = |batches| {
        if batches >= 10 && !std::mem::replace(&mut told, true) {
            println!("\nMIDRUN");
        }
    };
    let (result, seen) = execute(Driver::On(Box::new(cluster)), &member.spec, progress, |_| {});
    let report =
        Report { result, digest: digest(&seen.calls), calls: seen.calls.len(), alive_max: seen.alive_max };
    println!("\nREPORT {}", serde_json::to_string(&report).unwrap());
}

/// The command line of a process.
fn command(member: &Member) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "processes::member", "--ignored", "--nocapture"]);
    command.env(ROLE, serde_json::to_string(member).unwrap());
    command
}

/// A process that a test has started.
struct Process {
    id: u32,
    lines: Receiver<String>,
    errors: Receiver<String>,
}

impl Process {
    fn start(member: &Member) -> Self {
        let mut child = command(member).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (line_sender, lines) = channel();
        let (error_sender, errors) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let id = child.id();
        std::thread::spawn(move || {
            stdout.lines().map_while(Result::ok).for_each(|line| drop(line_sender.send(line)));
            let _ = child.wait();
        });
        std::thread::spawn(move || {
            stderr.lines().map_while(Result::ok).for_each(|line| drop(error_sender.send(line)));
        });
        Self { id, lines, errors }
    }

    /// The rest of the line that starts with `word`. Fails when the process ends or hangs before it.
    fn wait_for(&self, word: &str) -> String {
        loop {
            match self.lines.recv_timeout(WATCHDOG) {
                Ok(line) => {
                    if let Some(rest) = line.strip_prefix(word) {
                        return rest.trim().to_owned();
                    }
                }
                Err(error) => {
                    let said: Vec<_> = self.errors.try_iter().collect();
                    panic!("no {word} from process {}: {error}; it said {said:#?}", self.id);
                }
            }
        }
    }

    fn report(&self) -> Report {
        serde_json::from_str(&self.wait_for("REPORT")).unwrap()
    }

    /// Waits for the end of the process, and for what it wrote on its standard error.
    fn errors(&self) -> String {
        loop {
            match self.lines.recv_timeout(WATCHDOG) {
                Ok(_) => {}
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
                Err(error) => panic!("process {} does not end: {error}", self.id),
            }
        }
        self.errors.iter().collect::<Vec<_>>().join("\n")
    }

    fn signal(&self, name: &str) {
        signal(self.id, name);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A test that fails leaves nothing behind. Most have ended: then this does nothing, and says nothing.
        let script = format!("kill -KILL {} 2>/dev/null", self.id);
        let _ = Command::new("sh").args(["-c", &script]).status();
    }
}

fn signal(id: u32, name: &str) {
    let status = Command::new("sh").args(["-c", &format!("kill -{name} {id}")]).status().unwrap();
    assert!(status.success(), "kill -{name} {id}");
}

/// Addresses on this machine: a port for process 0, any for the others. The port is kept until this program ends, by a
/// socket that is bound and does not listen: no one gets it by chance, and a process that asks for it by number does.
fn hosts(processes: usize) -> Vec<String> {
    let keeper = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    keeper.set_reuse_address(true).unwrap();
    keeper.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    let address = keeper.local_addr().unwrap().as_socket().unwrap();
    std::mem::forget(keeper);
    let mut hosts = vec![address.to_string()];
    hosts.resize(processes, "127.0.0.1:0".to_owned());
    hosts
}

fn members(processes: usize, workers: usize, spec: &Spec) -> Vec<Member> {
    let hosts = hosts(processes);
    let member = |process| Member {
        process,
        hosts: hosts.clone(),
        workers,
        plan_digest: [7; 32],
        timeouts: Timeouts::default(),
        spec: spec.clone(),
        spawns: false,
    };
    (0..processes).map(member).collect()
}

fn start(members: &[Member]) -> Vec<Process> {
    members.iter().map(Process::start).collect()
}

/// timely's own panics must not reach the user.
fn assert_quiet(errors: &str) {
    for noise in ["timely communication", "poisoned", "panicked"] {
        assert!(!errors.contains(noise), "{errors}");
    }
}

#[test]
fn outputs_are_those_of_the_reference() {
    let seed = seed();
    // The last one sends messages that are larger than any buffer on the way.
    for (processes, workers, shards, batches, ballast) in [
        (2, 2, 9, 150, 0),
        (2, 1, 1, 150, 10),
        (3, 2, 20, 150, 0),
        (2, 1, 0, 150, 0),
        (2, 1, 6, 12, 3_000_000),
    ] {
        let spec = Spec { shards, ballast, batches: Some(batches), ..Spec::new(seed) };
        let (outcome, calls) = expected(&spec);
        let processes = start(&members(processes, workers, &spec));
        for (index, process) in processes.iter().enumerate() {
            let report = process.report();
            assert_eq!(report.result, Ok(outcome), "process {index}");
            assert!(report.alive_max <= spec.window, "{} batches alive", report.alive_max);
            let (number, all) = if index == 0 { (calls.len(), digest(&calls)) } else { (0, digest(&[])) };
            assert_eq!((report.calls, report.digest), (number, all), "process {index}");
            assert_eq!(process.errors(), "", "process {index} of {processes}", processes = processes.len());
        }
    }
}

#[test]
fn a_process_starts_its_own_children() {
    let spec = Spec::new(seed());
    let (outcome, calls) = expected(&spec);
    let mut member = members(3, 2, &spec).remove(0);
    member.spawns = true;
    let process = Process::start(&member);
    let report = process.report();
    assert_eq!(report.result, Ok(outcome));
    assert_eq!(report.digest, digest(&calls));
    process.errors();
}

#[test]
fn failures_end_every_process_with_the_same_error() {
    let seed = seed();
    let cases = [
        (Fault::Source(40), Place::Source, "torn file"),
        (Fault::SourceStart, Place::Source, "no such folder"),
        (Fault::Shard(3, 40), Place::Shard { shard: 3, batch: Some(40) }, "bad cell"),
        (Fault::Make(3), Place::Shard { shard: 3, batch: None }, "bad parameter"),
        (Fault::Finish(3), Place::Shard { shard: 3, batch: None }, "cannot finish"),
    ];
    for (fault, place, text) in cases {
        for panics in [false, true] {
            for at in 0..3 {
                // The shards are told where they fail; they fail only in the process that has them. The source fails
                // where the test says.
                let spec = Spec::new(seed);
                let mut members = members(3, 1, &spec);
                let faulty = spec.with(fault, panics);
                let on_source = place == Place::Source;
                for member in members.iter_mut().filter(|member| !on_source || member.process == at) {
                    member.spec = faulty.clone();
                }
                let reports: Vec<_> = start(&members).iter().map(Process::report).collect();
                for report in &reports {
                    let Err(DataflowError::Failed { process, place: failed, reason }) = &report.result else {
                        panic!("{fault:?}: {report:?}");
                    };
                    assert_eq!(failed, &place);
                    assert!(reason.ends_with(text), "{reason}");
                    assert!(!on_source || *process == at, "{report:?}");
                    assert_eq!(report.result, reports[0].result, "all say the same");
                }
                if !on_source {
                    break;
                }
            }
        }
    }
}

#[test]
fn a_failing_sink_ends_every_process() {
    let spec = Spec::endless(seed()).with(Fault::Sink(20), true);
    for report in start(&members(2, 2, &spec)).iter().map(Process::report) {
        let error = report.result.unwrap_err().to_string();
        assert!(error.starts_with("the sink of shard") && error.ends_with("disk full"), "{error}");
    }
}

#[test]
fn data_that_differ_are_an_error() {
    let spec = Spec::new(seed());
    for shorter in 0..2 {
        let mut members = members(2, 1, &spec);
        members[shorter].spec.fault = Some(Fault::SourceEndsEarly(30));
        for report in start(&members).iter().map(Process::report) {
            let error = report.result.unwrap_err().to_string();
            assert!(error.contains("after 30 ") && error.contains("the data differ"), "{error}");
        }
    }
}

#[test]
fn a_killed_process_ends_the_others() {
    let spec = Spec::endless(seed());
    for killed in 0..3 {
        let members = members(3, 2, &spec);
        let processes = start(&members);
        processes.iter().for_each(|process| drop(process.wait_for("MIDRUN")));
        processes[killed].signal("KILL");
        for (index, process) in processes.iter().enumerate().filter(|(index, _)| *index != killed) {
            match process.report().result {
                Err(DataflowError::Lost { process, host, .. }) => {
                    assert_eq!((process, host), (killed, members[killed].hosts[killed].clone()));
                }
                other => panic!("process {index}: {other:?}"),
            }
            assert_quiet(&process.errors());
        }
    }
}

#[test]
fn a_frozen_process_ends_the_others() {
    let spec = Spec::endless(seed());
    for frozen in 0..2 {
        let mut members = members(2, 1, &spec);
        members.iter_mut().for_each(|member| member.timeouts.silence = Duration::from_secs(1));
        let processes = start(&members);
        processes.iter().for_each(|process| drop(process.wait_for("MIDRUN")));
        processes[frozen].signal("STOP");
        let other = &processes[1 - frozen];
        match other.report().result {
            Err(DataflowError::Lost { process, reason, .. }) => {
                assert_eq!(process, frozen);
                assert!(reason.contains("no sign of life for 1s"), "{reason}");
            }
            other => panic!("{other:?}"),
        }
        assert_quiet(&other.errors());
        // It wakes up and learns that it is too late.
        processes[frozen].signal("CONT");
        assert!(processes[frozen].report().result.is_err());
        assert_quiet(&processes[frozen].errors());
    }
}

#[test]
fn killing_a_parent_or_a_child_ends_the_family() {
    let spec = Spec::endless(seed());
    let mut member = members(3, 1, &spec).remove(0);
    member.spawns = true;

    let parent = Process::start(&member);
    let child = parent.wait_for("CHILD 1");
    parent.wait_for("MIDRUN");
    signal(child.parse().unwrap(), "KILL");
    match parent.report().result {
        Err(DataflowError::Lost { process: 1, .. }) => {}
        other => panic!("{other:?}"),
    }

    let parent = Process::start(&member);
    parent.wait_for("MIDRUN");
    parent.signal("KILL");
    // The children have inherited its standard error: it ends when the last of them has.
    let (sender, ended) = channel();
    std::thread::spawn(move || sender.send(parent.errors()));
    assert_quiet(&ended.recv_timeout(WATCHDOG).expect("the children end"));
}

#[test]
fn a_child_that_does_not_start_is_an_error_at_once() {
    let fails = |_: usize, _: &[String]| Command::new("false");
    let cluster = spawn_local(2, 1, [7; 32], fails).unwrap();
    let (result, _) = execute(Driver::On(Box::new(cluster)), &Spec::new(1), |_| {}, |_| {});
    match result {
        Err(DataflowError::Lost { process: 1, reason, .. }) => {
            assert!(reason.contains("exit status: 1"), "{reason}")
        }
        other => panic!("{other:?}"),
    }
    let nothing = |_: usize, _: &[String]| Command::new("/no/such/program");
    let error = spawn_local(2, 1, [7; 32], nothing).err().unwrap();
    assert!(error.to_string().contains("its command did not start"), "{error}");
}

#[test]
fn a_process_that_never_comes_is_named() {
    let spec = Spec::new(1);
    for missing in 0..3 {
        let mut members = members(3, 1, &spec);
        members.iter_mut().for_each(|member| member.timeouts.connect = Duration::from_millis(700));
        let processes: Vec<_> =
            members.iter().filter(|member| member.process != missing).map(Process::start).collect();
        let first = processes[0].report().result.unwrap_err();
        match &first {
            DataflowError::Connect { process, reason, .. } => {
                assert_eq!(*process, missing);
                assert!(reason.contains("it did not come within 700ms"), "{reason}");
            }
            other => panic!("{other:?}"),
        }
        // The other is told by process 0, or finds out for itself.
        let second = processes[1].report().result.unwrap_err();
        assert!(matches!(second, DataflowError::Connect { .. } | DataflowError::Lost { .. }), "{second:?}");
        processes.iter().for_each(|process| assert_quiet(&process.errors()));
    }
}

#[test]
fn processes_of_different_plans_refuse_each_other() {
    type Change = fn(&mut Member);
    let changes: [(Change, &str); 4] = [
        (|member| member.plan_digest = [9; 32], "a plan with digest"),
        (|member| member.workers = 3, "workers a process"),
        (|member| member.spec.window = 9, "a window of"),
        (|member| member.spec.shards = 9, "a number of shards of"),
    ];
    for (change, text) in changes {
        let mut members = members(2, 1, &Spec::new(1));
        change(&mut members[1]);
        let processes = start(&members);
        for (index, process) in processes.iter().enumerate() {
            match process.report().result {
                Err(DataflowError::Mismatch { process, reason, .. }) => {
                    assert_eq!(process, 1 - index);
                    assert!(reason.contains(text), "{reason}");
                }
                other => panic!("process {index}: {other:?}"),
            }
        }
    }
}

#[test]
fn two_processes_cannot_have_one_place() {
    let members = members(3, 1, &Spec::new(1));
    let processes = start(&[members[0].clone(), members[1].clone(), members[1].clone()]);
    match processes[0].report().result {
        Err(DataflowError::Mismatch { process: 1, reason, .. }) => {
            assert_eq!(reason, "a second process says that it is process 1");
        }
        other => panic!("{other:?}"),
    }
    for process in &processes[1..] {
        assert!(process.report().result.is_err());
    }
}

#[test]
fn a_stop_before_all_have_joined_ends_the_wait() {
    let mut member = members(2, 1, &Spec { stop_at: Some(0), ..Spec::new(1) }).remove(0);
    member.timeouts.connect = Duration::from_secs(3600);
    let error = Process::start(&member).report().result.unwrap_err().to_string();
    assert!(error.contains("it was stopped before all had joined"), "{error}");
}

#[test]
fn strangers_at_the_port_are_turned_away() {
    let spec = Spec::new(seed());
    let (outcome, _) = expected(&spec);
    let members = members(2, 1, &spec);
    let first = Process::start(&members[0]);
    let stranger = loop {
        match std::net::TcpStream::connect(&members[0].hosts[0]) {
            Ok(stream) => break stream,
            Err(_) => std::thread::yield_now(),
        }
    };
    use std::io::Write;
    (&stranger).write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let second = Process::start(&members[1]);
    for process in [first, second] {
        assert_eq!(process.report().result, Ok(outcome));
    }
}

#[test]
fn a_stop_in_any_process_ends_all_at_one_batch() {
    let seed = seed();
    for at in 0..3 {
        let mut members = members(3, 2, &Spec::endless(seed));
        members[at].spec.stop_at = Some(30);
        let reports: Vec<_> = start(&members).iter().map(Process::report).collect();
        let outcome = reports[0].result.clone().unwrap();
        assert!(outcome.stopped && outcome.batches >= 30, "{outcome:?}");
        assert!(reports.iter().all(|report| report.result == Ok(outcome)), "{reports:?}");
        let (whole, calls) = expected(&Spec { batches: Some(outcome.batches), ..Spec::new(seed) });
        assert_eq!((outcome.batches, outcome.rows), (whole.batches, whole.rows));
        assert_eq!(reports[0].digest, digest(&calls), "stopped by process {at} at {}", outcome.batches);
    }
}
