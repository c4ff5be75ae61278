//! Quotes, positions and equity, looked at while someone follows them: a change is told at once, and ten of the same a second at
//! most.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tradeflow_model::{Symbol, Timestamp};

use super::hub::{Hub, StreamKey};
use super::messages::{Channel, Data};
use crate::routes::accounts::Balance;
use crate::routes::positions::PositionLine;
use crate::source::NodeSource;
use crate::status::QuoteLine;
use crate::views::ShownCell;
use crate::worker::Worker;

/// Looks. Dropping it stops it.
#[derive(Debug)]
pub struct Watch {
    _worker: Worker,
}

/// How often it looks, and how often it tells of the same at most.
const EVERY: Duration = Duration::from_millis(10);
const TELL_EVERY: Duration = Duration::from_millis(100);

impl Watch {
    /// Begins.
    ///
    /// # Errors
    /// When there is no thread for it.
    pub fn start(node: Arc<dyn NodeSource>, hub: Arc<Hub>) -> std::io::Result<Self> {
        let mut told = Told::default();
        let worker = Worker::repeat("socket-watch", move || {
            if hub.has_watchers() {
                told.look(node.as_ref(), &hub);
            }
            std::thread::sleep(EVERY);
        })?;
        Ok(Self { _worker: worker })
    }
}

/// What was told last, by stream: its number, and what tells it from another.
#[derive(Default)]
struct Told(HashMap<StreamKey, Last>);

#[derive(Default)]
struct Last {
    seq: u64,
    news: String,
    at: Option<Instant>,
}

impl Told {
    fn look(&mut self, node: &dyn NodeSource, hub: &Hub) {
        for symbol in self.due(hub, Channel::Quotes) {
            let Some(quote) = quote(node, &symbol) else { continue };
            // Its age alone is no news.
            let news = format!(
                "{:?}",
                (&quote.bid, &quote.ask, &quote.last, &quote.source, &quote.ts_event, &quote.freshness)
            );
            self.tell(node, hub, Channel::Quotes, symbol, news, Data::Quote(quote));
        }
        // A view is a copy of all cells': only for what is due.
        let (positions, equity) = (self.due(hub, Channel::Positions), self.due(hub, Channel::Equity));
        if positions.is_empty() && equity.is_empty() {
            return;
        }
        for cell in node.shown_cells() {
            for (channel, due) in [(Channel::Positions, &positions), (Channel::Equity, &equity)] {
                if due.contains(&cell.view.account) {
                    // That time has passed is no news.
                    let timeless = ShownCell { as_of: Timestamp::default(), ..cell.clone() };
                    let news = serde_json::to_string(&of_cell(channel, timeless)).unwrap_or_default();
                    let data = of_cell(channel, cell.clone());
                    self.tell(node, hub, channel, cell.view.account.clone(), news, data);
                }
            }
        }
    }

    /// The keys that are followed, and of which nothing was told a moment ago.
    fn due(&self, hub: &Hub, channel: Channel) -> Vec<String> {
        let mut keys = hub.followed(channel);
        keys.retain(|key| {
            let last = self.0.get(&(channel, key.clone())).and_then(|last| last.at);
            last.is_none_or(|at| at.elapsed() >= TELL_EVERY)
        });
        keys
    }

    fn tell(
        &mut self,
        node: &dyn NodeSource,
        hub: &Hub,
        channel: Channel,
        key: String,
        news: String,
        data: Data,
    ) {
        let last = self.0.entry((channel, key.clone())).or_default();
        if last.news != news {
            // Milliseconds: after a restart of the server numbers are greater than before.
            let millis = (node.now().as_nanos() / 1_000_000) as u64;
            *last = Last { seq: millis.max(last.seq + 1), news, at: Some(Instant::now()) };
            hub.publish(channel, &key, last.seq, data);
        }
    }
}

fn quote(node: &dyn NodeSource, symbol: &str) -> Option<QuoteLine> {
    let symbol = Symbol::new(symbol).ok()?;
    node.shown_quote(&symbol).map(QuoteLine::from)
}

fn of_cell(channel: Channel, cell: ShownCell) -> Data {
    match channel {
        Channel::Positions => {
            Data::Positions { positions: cell.view.positions.into_iter().map(PositionLine::from).collect() }
        }
        _ => Data::Equity(Balance::from(cell)),
    }
}

/// A state as it is now, where there is one.
pub(super) fn look(node: &dyn NodeSource, channel: Channel, key: &str) -> Option<Data> {
    match channel {
        Channel::Quotes => quote(node, key).map(Data::Quote),
        _ => node.shown_cell(key).map(|cell| of_cell(channel, cell)),
    }
}
