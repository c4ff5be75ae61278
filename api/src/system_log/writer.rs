//! From the queue into the state, in batches.

use std::time::Duration;

use tokio::sync::oneshot;
use tradeflow_state::SystemEntry;
use uuid::Uuid;

use super::{Event, SystemLogQueue, level_name};
use crate::context::Context;
use crate::routes::system_log::SystemView;
use crate::socket::messages::{Channel, Data};

/// Events that are written at once, and how long the first of them waits for others.
const BATCH: usize = 500;
const GATHER: Duration = Duration::from_millis(250);
/// How long it waits before it tries the database again.
const PAUSE: Duration = Duration::from_secs(1);
/// How long the end may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// Writes for as long as the server runs.
#[derive(Debug)]
pub(crate) struct Writer {
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

impl Writer {
    pub(crate) fn start(shared: Context, queue: SystemLogQueue) -> Self {
        let (stop, stopped) = oneshot::channel();
        Self { stop, task: tokio::spawn(run(shared, queue, stopped)) }
    }

    /// Writes what waits, and ends.
    pub(crate) async fn end(self) {
        let _ = self.stop.send(());
        let _ = tokio::time::timeout(FAREWELL, self.task).await; // a database that is away is not waited for
    }
}

async fn run(shared: Context, mut queue: SystemLogQueue, mut stopped: oneshot::Receiver<()>) {
    let (mut open, mut told) = (true, 0);
    let mut events = Vec::with_capacity(BATCH);
    loop {
        tokio::select! {
            biased;
            count = queue.events.recv_many(&mut events, BATCH) => if count == 0 { return },
            _ = &mut stopped, if open => {
                open = false;
                queue.events.close();
                continue;
            }
        }
        if open {
            // More come as a rule where one came.
            tokio::select! {
                _ = &mut stopped => {
                    open = false;
                    queue.events.close();
                }
                () = tokio::time::sleep(GATHER) => {}
            }
        }
        while events.len() < BATCH
            && let Ok(event) = queue.events.try_recv()
        {
            events.push(event);
        }
        let shed = queue.shed.get();
        if shed > told {
            events.push(lost(&shared, shed - told));
            told = shed;
        }
        let entries: Vec<_> = events.drain(..).map(|event| entry(&shared.jobs.node, event)).collect();
        for entry in &entries {
            tell(&shared, entry);
        }
        write(&shared, &entries).await;
    }
}

/// Writes until it is done. While the database is away, events gather in the queue.
async fn write(shared: &Context, entries: &[SystemEntry]) {
    let mut failed = false;
    while let Err(error) = shared.state.add_system_entries(entries).await {
        if !std::mem::replace(&mut failed, true) {
            tracing::warn!(%error, "the system log can't be written; it is tried again");
        }
        if !matches!(error, tradeflow_state::StateError::Unavailable(_)) {
            tracing::error!(%error, entries = entries.len(), "entries of the system log are lost");
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn lost(shared: &Context, count: u64) -> Event {
    Event {
        id: Uuid::now_v7().to_string(),
        ts: shared.now().as_nanos(),
        level: 2,
        target: module_path!().to_owned(),
        message: "events of the system log were shed: they came faster than they could be written".to_owned(),
        fields: [("shed".to_owned(), count.into())].into_iter().collect(),
    }
}

fn entry(node: &str, event: Event) -> SystemEntry {
    let Event { id, ts, level, target, message, fields } = event;
    let fields = serde_json::Value::from(fields).to_string();
    SystemEntry { id, ts, node: node.to_owned(), level, target, message, fields }
}

/// Tells those who follow this level, or one that is less grave.
fn tell(shared: &Context, entry: &SystemEntry) {
    for level in entry.level..=3 {
        let data = Data::Log(Box::new(SystemView::from(entry.clone())));
        shared.hub.tell(Channel::Logs, level_name(level), shared.now(), data);
    }
}
