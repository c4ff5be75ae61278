//! One client.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::{HttpRequest, HttpResponse, get, web};
use actix_ws::{AggregatedMessage, AggregatedMessageStream, CloseCode, CloseReason, Session};
use tradeflow_state::Role;

use super::messages::{Channel, ClientMessage, ServerMessage};
use super::outbox::Outbox;
use super::subscribe::subscribe;
use crate::auth::guard::token_of;
use crate::auth::{As, Caller, Viewer};
use crate::context::Context;
use crate::problem::Problem;

/// Connections of a node, and streams that one may follow, at most.
const CONNECTIONS_MAX: usize = 5000;
const STREAMS_MAX: usize = 500;
/// Longest message of a client, in bytes.
const MESSAGE_MAX: usize = 16 << 10;
/// Each so often the client is asked whether it is there, and whether it still may be.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Without a sign of life for so long, or a message taken within it, a client is gone.
const PATIENCE: Duration = Duration::from_secs(40);

/// The socket
///
/// A WebSocket (RFC 6455), which carries JSON texts in both directions. What they are is told by `/api/v1/asyncapi.json`.
/// 426 without an upgrade; 503 where there are too many connections.
#[utoipa::path(tag = "socket", security(("bearer" = ["viewer"])), responses((status = 101, description = "It is open")))]
#[get("/ws")]
pub(crate) async fn open(
    shared: Context,
    caller: As<Viewer>,
    request: HttpRequest,
    body: web::Payload,
) -> Result<HttpResponse, Problem> {
    from_our_page(&request)?;
    let (response, session, messages) = actix_ws::handle(&request, body)
        .map_err(|error| Problem::upgrade(format!("this is a WebSocket: {error}")))?;
    if !shared.hub.connect(CONNECTIONS_MAX) {
        return Err(Problem::unavailable("there are too many connections"));
    }
    let messages = messages.max_frame_size(MESSAGE_MAX).aggregate_continuations();
    let connection = Connection {
        outbox: Arc::default(),
        streams: Vec::new(),
        token: token_of(request.headers(), |name| request.cookie(name)).map(|(token, _)| token),
        caller: (*caller).clone(),
        shared,
    };
    actix_web::rt::spawn(connection.run(session, messages.max_continuation_size(MESSAGE_MAX)));
    Ok(response)
}

/// A page of someone else may open a socket with the cookies of ours: browsers say where a page is from.
fn from_our_page(request: &HttpRequest) -> Result<(), Problem> {
    let Some(origin) = request.headers().get("origin").and_then(|origin| origin.to_str().ok()) else {
        return Ok(());
    };
    let config = request.app_data::<Context>().map(|shared| &shared.config);
    let named = config.is_some_and(|config| {
        config.public_url.as_deref() == Some(origin)
            || config.cors_origins.iter().any(|named| named == origin)
    });
    let ours = request.connection_info().host().to_owned();
    match named || origin.split_once("://").is_some_and(|(_, host)| host == ours) {
        true => Ok(()),
        false => Err(Problem::forbidden(format!("a page of {origin} may not open it"))),
    }
}

struct Connection {
    shared: Context,
    caller: Caller,
    token: Option<String>,
    outbox: Arc<Outbox>,
    streams: Vec<(Channel, String)>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        for (channel, key) in &self.streams {
            self.shared.hub.leave(*channel, key, &self.outbox);
        }
        self.shared.hub.disconnect();
    }
}

impl Connection {
    async fn run(mut self, mut session: Session, mut messages: AggregatedMessageStream) {
        let user = self.caller.identity.user.email.clone();
        self.outbox.say(&ServerMessage::Hello { version: env!("CARGO_PKG_VERSION"), user: &user });
        let ends = self.shared.ends.clone();
        let talk = ends.run_until_cancelled(self.talk(&mut session, &mut messages)).await;
        let reason = talk.unwrap_or_else(|| Some((CloseCode::Away, "the node ends").into()));
        let _ = session.close(reason).await; // it may be gone
    }

    /// Until the client goes, or may stay no longer: why it is closed.
    async fn talk(
        &mut self,
        session: &mut Session,
        messages: &mut AggregatedMessageStream,
    ) -> Option<CloseReason> {
        let mut look = tokio::time::interval(LOOK_EVERY);
        let mut seen = Instant::now();
        loop {
            // What a client asks for waits until it has taken what it was told.
            while let Some(text) = self.outbox.take() {
                match tokio::time::timeout(PATIENCE, session.text(text)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) | Err(_) => return None,
                }
            }
            tokio::select! {
                () = self.outbox.ready() => {}
                message = messages.recv() => {
                    seen = Instant::now();
                    match message? {
                        Ok(AggregatedMessage::Text(text)) => self.hear(&text).await,
                        Ok(AggregatedMessage::Ping(bytes)) => session.pong(&bytes).await.ok()?,
                        Ok(AggregatedMessage::Pong(_)) => {}
                        Ok(AggregatedMessage::Close(reason)) => return reason,
                        Ok(AggregatedMessage::Binary(_)) => {
                            return Some((CloseCode::Unsupported, "texts alone").into());
                        }
                        Err(actix_ws::ProtocolError::Overflow) => {
                            return Some((CloseCode::Size, "a message takes 16 KiB at most").into());
                        }
                        Err(error) => return Some((CloseCode::Protocol, error.to_string()).into()),
                    }
                }
                _ = look.tick() => {
                    if seen.elapsed() > PATIENCE {
                        return Some((CloseCode::Away, "nothing was heard").into());
                    }
                    if !self.still_may().await {
                        return Some((CloseCode::Other(4401), "the log-in has ended").into());
                    }
                    session.ping(b"").await.ok()?;
                }
            }
        }
    }

    /// Whether the log-in goes on; subscriptions to accounts that were taken from the user end.
    async fn still_may(&mut self) -> bool {
        let Some(token) = &self.token else { return false };
        if self.shared.known_now(token).is_none() {
            match self.shared.identify(token).await {
                Ok(Some(identity)) => self.caller.identity = identity,
                Ok(None) => return false,
                Err(_) => return true, // the database is away: that is no reason
            }
        }
        let mine = match self.caller.identity.user.role < Role::Manager {
            true => self.shared.state.accounts_of(self.caller.id()).await.ok(),
            false => None,
        };
        let logs = self.caller.may(Role::Administrator);
        let lost = self.streams.iter().filter(|(channel, key)| match channel {
            Channel::Quotes | Channel::Bars | Channel::Jobs | Channel::Alerts => false,
            Channel::Logs => !logs,
            _ => mine.as_ref().is_some_and(|mine| !mine.contains(key)),
        });
        for (channel, key) in lost.cloned().collect::<Vec<_>>() {
            self.leave(channel, &key);
        }
        true
    }

    async fn hear(&mut self, text: &str) {
        match serde_json::from_str(text) {
            Ok(ClientMessage::Ping {}) => self.outbox.say(&ServerMessage::Pong {}),
            Ok(ClientMessage::Subscribe { channel, keys, after }) => {
                if keys.is_empty() || keys.len() > 100 || (after.is_some() && keys.len() > 1) {
                    return self.refuse(
                        "invalid",
                        "keys: takes 1 to 100, with `after` one",
                        Some(channel),
                        None,
                    );
                }
                for key in keys {
                    self.follow(channel, key, after).await;
                }
            }
            Ok(ClientMessage::Unsubscribe { channel, keys }) => {
                for key in keys.iter().take(100) {
                    self.leave(channel, key);
                }
            }
            Err(error) => self.refuse("invalid", &error.to_string(), None, None),
        }
    }

    async fn follow(&mut self, channel: Channel, key: String, after: Option<u64>) {
        let stream = (channel, key);
        if !self.streams.contains(&stream) {
            if self.streams.len() >= STREAMS_MAX {
                let why = format!("a connection follows {STREAMS_MAX} streams at most");
                return self.refuse("too-many", &why, Some(channel), Some(&stream.1));
            }
            self.streams.push(stream.clone());
        }
        let begun = subscribe(&self.shared, &self.caller, &self.outbox, channel, &stream.1, after).await;
        if let Err(problem) = begun {
            self.end(channel, &stream.1);
            self.refuse(&problem.code, &problem.detail, Some(channel), Some(&stream.1));
        }
    }

    fn end(&mut self, channel: Channel, key: &str) {
        self.streams.retain(|(other, name)| *other != channel || name != key);
        self.shared.hub.leave(channel, key, &self.outbox);
        self.outbox.end(channel, key);
    }

    fn leave(&mut self, channel: Channel, key: &str) {
        self.end(channel, key);
        self.outbox.say(&ServerMessage::Unsubscribed { channel, key });
    }

    fn refuse(&self, code: &str, detail: &str, channel: Option<Channel>, key: Option<&str>) {
        self.outbox.say(&ServerMessage::Error { code, detail, channel, key });
    }
}
