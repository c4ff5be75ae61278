//! Last prices by polling: the slow source behind the others.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Yahoo;
use crate::feed::{Feed, FeedContext, FeedState, Update};
use crate::history::HistoryError;
use crate::watchlist::Watchlist;

/// Symbols of one request, at most.
const SYMBOLS_MAX: usize = 100;

/// Polls Yahoo's quotes of the watchlist. Reports [`Update::Last`]: its bids and asks are too old to be any.
///
/// A symbol that Yahoo does not know counts as unserved. Refused or throttled beyond the client's own retries, it goes on
/// at a tenth of its pace.
pub struct YahooQuotes {
    yahoo: Arc<Yahoo>,
    every: Duration,
}

impl YahooQuotes {
    /// Asks once in `every`.
    pub fn new(yahoo: Arc<Yahoo>, every: Duration) -> Self {
        Self { yahoo, every }
    }

    /// Asks for all of the watchlist; whether it was answered.
    async fn poll(&self, context: &mut FeedContext, watchlist: &Watchlist) -> Result<(), HistoryError> {
        let symbols: Vec<_> = watchlist.watches.iter().map(|watch| watch.vendor_symbol.clone()).collect();
        let mut served = 0;
        for symbols in symbols.chunks(SYMBOLS_MAX) {
            let prices = self.yahoo.quotes(symbols).await?;
            let now = context.clock.now();
            context.status.messages.fetch_add(1, Ordering::Relaxed);
            context.status.last_message.store(now.as_nanos(), Ordering::Relaxed);
            for price in prices {
                let Some(watch) = watchlist.by_vendor_symbol(&price.symbol) else { continue };
                served += 1;
                context.status.quotes.fetch_add(1, Ordering::Relaxed);
                let symbol = watch.instrument.symbol.clone();
                context
                    .sink
                    .update(now, Update::Last { symbol, ts_event: price.ts_event, price: price.price });
            }
            context.sink.flush().await;
        }
        let unserved = symbols.len() as u64 - served.min(symbols.len() as u64);
        context.status.unserved.store(unserved, Ordering::Relaxed);
        Ok(())
    }

    async fn serve(self, mut context: FeedContext) {
        context.status.set_state(FeedState::Connecting);
        loop {
            let watchlist = context.watchlist.borrow_and_update().clone();
            let mut pause = self.every;
            if !watchlist.watches.is_empty() {
                match self.poll(&mut context, &watchlist).await {
                    Ok(()) => context.status.set_state(FeedState::Live),
                    Err(error) => {
                        let is_refused =
                            matches!(error, HistoryError::Refused(_) | HistoryError::RateLimited { .. });
                        if matches!(error, HistoryError::RateLimited { .. }) {
                            context.status.rate_limited.fetch_add(1, Ordering::Relaxed);
                        }
                        let state = if is_refused { FeedState::Refused } else { FeedState::Connecting };
                        context.status.set_state(state);
                        context.status.set_error(error.to_string());
                        context.sink.bad(&error.to_string(), "");
                        pause = self.every * 10;
                    }
                }
            }
            tokio::select! {
                changed = context.watchlist.changed() => {
                    if changed.is_err() {
                        return; // nobody can want anything any more
                    }
                }
                () = tokio::time::sleep(pause) => {}
            }
        }
    }
}

impl Feed for YahooQuotes {
    fn name(&self) -> &'static str {
        "yahoo"
    }

    fn run(self: Box<Self>, context: FeedContext) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            let (stop, status) = (context.stop.clone(), Arc::clone(&context.status));
            stop.run_until_cancelled(self.serve(context)).await;
            status.set_state(FeedState::Off);
        })
    }
}
