//! What client and server say over the socket. Their schemas are made of these types.

use schemars::{JsonSchema, schema_for};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::alerts::message::Told;
use crate::routes::accounts::Balance;
use crate::routes::backtests::JobView;
use crate::routes::fills::FillView;
use crate::routes::orders::read::{OrderEventView, OrderView};
use crate::routes::positions::PositionLine;
use crate::routes::signals::SignalView;
use crate::routes::system_log::SystemView;
use crate::status::QuoteLine;

/// What a stream is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Channel {
    /// Quotes of an instrument; the key is its symbol.
    Quotes,
    /// Bars of an instrument as they close; the key is symbol and interval: `BTCUSD/1m`.
    Bars,
    /// Orders of an account; the key is its name.
    Orders,
    /// Fills of an account.
    Fills,
    /// Positions of an account.
    Positions,
    /// What an account is worth.
    Equity,
    /// Signals from outside to an account.
    Signals,
    /// A job; the key is its id.
    Jobs,
    /// What the node says of itself, for administrators; the key is the least grave level: `info`, `warn` or `error`.
    Logs,
    /// One's own alerts that go off; the key is one's user id.
    Alerts,
}

impl Channel {
    /// Whether a client needs the newest alone.
    pub(super) fn is_state(self) -> bool {
        matches!(self, Self::Quotes | Self::Positions | Self::Equity | Self::Jobs)
    }
}

/// What a client says.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(tag = "op", rename_all = "lowercase", deny_unknown_fields)]
pub(crate) enum ClientMessage {
    /// Follow streams.
    Subscribe {
        /// What they are of.
        channel: Channel,
        /// Which: symbols, symbols with intervals, accounts, jobs, levels, or one's user id; 1 to 100.
        #[schemars(length(min = 1, max = 100))]
        keys: Vec<String>,
        /// The `seq` of the last message that was seen of this stream: what came since is sent, where it is still there.
        #[serde(default)]
        after: Option<u64>,
    },
    /// Follow streams no more.
    Unsubscribe {
        /// What they are of.
        channel: Channel,
        /// Which.
        #[schemars(length(min = 1, max = 100))]
        keys: Vec<String>,
    },
    /// Ask for a `pong`.
    Ping {},
}

/// What the server says.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(crate) enum ServerMessage<'a> {
    /// The first message.
    Hello {
        /// The server's version.
        version: &'a str,
        /// Who has logged in, by his email.
        user: &'a str,
    },
    /// A subscription begins: everything as it is.
    Snapshot {
        channel: Channel,
        key: &'a str,
        /// Updates with greater numbers follow.
        seq: u64,
        /// Orders that stand; the newest 100 fills, or times that alerts went off; one entry for a state; none for bars and logs.
        data: Vec<Data>,
    },
    /// A subscription goes on behind `after`: what was missed follows.
    Resumed { channel: Channel, key: &'a str, seq: u64 },
    /// Something has changed.
    Update { channel: Channel, key: &'a str, seq: u64, data: Data },
    /// A subscription has ended as asked.
    Unsubscribed { channel: Channel, key: &'a str },
    /// A subscription has ended, because the client takes messages more slowly than they come. Subscribe again, with
    /// `after` as it stands here.
    Lagged { channel: Channel, key: &'a str, seq: u64 },
    /// Something that was asked for is not done.
    Error {
        /// For programs: `invalid`, `not-found`, `unavailable`, `too-many`.
        code: &'a str,
        /// For people.
        detail: &'a str,
        channel: Option<Channel>,
        key: Option<&'a str>,
    },
    /// The answer to a `ping`.
    Pong {},
}

/// What a message is about, by the channel.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Data {
    /// Of `quotes`.
    Quote(QuoteLine),
    /// Of `bars`.
    Bar(BarLine),
    /// Of `orders`: the order, and, but for a snapshot, what happened to it.
    Order {
        /// The order as it stands.
        order: Box<OrderView>,
        /// What happened.
        event: Option<OrderEventView>,
    },
    /// Of `fills`.
    Fill(Box<FillView>),
    /// Of `positions`: all of the account.
    Positions {
        /// Them.
        positions: Vec<PositionLine>,
    },
    /// Of `equity`.
    Equity(Balance),
    /// Of `jobs`: the job as it stands.
    Job(Box<JobView>),
    /// Of `signals`: the signal as it stands.
    Signal(Box<SignalView>),
    /// Of `logs`.
    Log(Box<SystemView>),
    /// Of `alerts`.
    Alert(Box<Told>),
}

/// A bar that has closed.
#[derive(Debug, Clone, Serialize, JsonSchema, utoipa::ToSchema)]
pub(crate) struct BarLine {
    /// Start of the interval.
    pub(crate) open_time: String,
    /// Its end.
    pub(crate) close_time: String,
    /// The first price.
    pub(crate) open: String,
    /// The highest.
    pub(crate) high: String,
    /// The lowest.
    pub(crate) low: String,
    /// The last.
    pub(crate) close: String,
    /// Quantity traded; 0 where the source gives none.
    pub(crate) volume: String,
}

/// The AsyncAPI document of the socket.
pub(crate) fn document() -> Value {
    let schema = |of: schemars::Schema, name: &str| {
        let mut of = of.to_value();
        // A schema's own definitions are found from the document's root.
        let text = of.to_string().replace("#/$defs/", &format!("#/components/schemas/{name}/$defs/"));
        if let Ok(moved) = serde_json::from_str(&text) {
            of = moved;
        }
        of
    };
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "TradeFlow socket",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "JSON texts over a WebSocket. Log in as for the other routes: the header `authorization: Bearer …`, or \
                the cookie of a page of this server. The connection ends with code 4401 when the log-in does, and with 1001 when the node does.",
        },
        "channels": {
            "socket": {
                "address": "/api/v1/ws",
                "messages": {
                    "client": { "$ref": "#/components/messages/client" },
                    "server": { "$ref": "#/components/messages/server" },
                },
            },
        },
        "operations": {
            "say": { "action": "receive", "channel": { "$ref": "#/channels/socket" },
                "messages": [{ "$ref": "#/channels/socket/messages/client" }] },
            "hear": { "action": "send", "channel": { "$ref": "#/channels/socket" },
                "messages": [{ "$ref": "#/channels/socket/messages/server" }] },
        },
        "components": {
            "messages": {
                "client": { "contentType": "application/json", "payload": { "$ref": "#/components/schemas/ClientMessage" } },
                "server": { "contentType": "application/json", "payload": { "$ref": "#/components/schemas/ServerMessage" } },
            },
            "schemas": {
                "ClientMessage": schema(schema_for!(ClientMessage), "ClientMessage"),
                "ServerMessage": schema(schema_for!(ServerMessage<'_>), "ServerMessage"),
            },
        },
    })
}
