//! A server's switches: what it does wrong, and its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::get;
use axum::{Json, Router};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Misbehaviour;

/// How a request is answered instead of what it asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The vendor's way of saying "too many".
    Refuse,
    /// The vendor's way of failing.
    Fail,
}

/// The switches of a running server, shared by its connections. One for each [`super::Server`].
#[derive(Debug)]
pub struct Control {
    pub(super) misbehaviour: watch::Sender<Misbehaviour>,
    goodbyes: watch::Sender<u64>,
    pub(super) stop: CancellationToken,
    pub(super) connections: TaskTracker,
    /// Requests so far, upgrades to WebSocket included, `/_control` not.
    pub requests: AtomicU64,
    /// WebSocket connections so far.
    pub sockets: AtomicU64,
}

impl Control {
    /// Switches that begin so.
    pub fn new(misbehaviour: Misbehaviour) -> Arc<Self> {
        Arc::new(Self {
            misbehaviour: watch::Sender::new(misbehaviour),
            goodbyes: watch::Sender::new(0),
            stop: CancellationToken::new(),
            connections: TaskTracker::new(),
            requests: AtomicU64::new(0),
            sockets: AtomicU64::new(0),
        })
    }

    /// What it does wrong now.
    pub fn misbehaviour(&self) -> Misbehaviour {
        *self.misbehaviour.borrow()
    }

    /// Changes what it does wrong.
    pub fn set(&self, misbehaviour: Misbehaviour) {
        self.misbehaviour.send_replace(misbehaviour);
    }

    /// Makes the servers that have a message for it say that they are about to go. They stay.
    pub fn say_goodbye(&self) {
        self.goodbyes.send_modify(|count| *count += 1);
    }

    /// Changes with every [`Self::say_goodbye`].
    pub fn goodbyes(&self) -> watch::Receiver<u64> {
        self.goodbyes.subscribe()
    }

    /// Resolves when the server stops.
    pub async fn stopped(&self) {
        self.stop.cancelled().await;
    }

    /// The fault that the next request is due, if there is one; refusals come first. It is used up.
    fn take_fault(&self) -> Option<Fault> {
        let mut fault = None;
        self.misbehaviour.send_if_modified(|now| {
            if now.refuse_next > 0 {
                now.refuse_next -= 1;
                fault = Some(Fault::Refuse);
            } else if now.fail_next > 0 {
                now.fail_next -= 1;
                fault = Some(Fault::Fail);
            }
            fault.is_some()
        });
        fault
    }

    /// The vendor's paths behind the faults, which `answer` puts into the vendor's words; and `/_control`, which has
    /// none.
    pub fn guard(self: &Arc<Self>, vendor: Router, answer: fn(Fault) -> Response) -> Router {
        let guard = (Arc::clone(self), answer);
        let control = get(read).put(change).with_state(Arc::clone(self));
        vendor.layer(middleware::from_fn_with_state(guard, faulty)).route("/_control", control)
    }
}

type Guard = (Arc<Control>, fn(Fault) -> Response);

async fn faulty(State((control, answer)): State<Guard>, request: Request, next: Next) -> Response {
    control.requests.fetch_add(1, Ordering::Relaxed);
    match control.take_fault() {
        Some(fault) => answer(fault),
        None => next.run(request).await,
    }
}

async fn read(State(control): State<Arc<Control>>) -> Json<Misbehaviour> {
    Json(control.misbehaviour())
}

async fn change(
    State(control): State<Arc<Control>>,
    Json(misbehaviour): Json<Misbehaviour>,
) -> Json<Misbehaviour> {
    control.set(misbehaviour);
    Json(misbehaviour)
}
