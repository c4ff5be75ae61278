//! What is subscribed.

use tradeflow_model::{Instrument, Symbol};

/// An instrument that is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watch {
    /// The instrument, with its scales.
    pub instrument: Instrument,
    /// What the vendor calls it (`BINANCE:BTCUSDT`, `btcusdt`, `BTC-USD`).
    pub vendor_symbol: String,
    /// Whether trades are wanted.
    pub trades: bool,
    /// Whether quotes are wanted, where the vendor streams them.
    pub quotes: bool,
}

/// What a feed should be subscribed to, in order of importance: where a vendor limits symbols, the first ones are kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Watchlist {
    /// The instruments; each symbol once.
    pub watches: Vec<Watch>,
}

impl Watchlist {
    /// The watch with this vendor symbol.
    pub fn by_vendor_symbol(&self, vendor_symbol: &str) -> Option<&Watch> {
        self.watches.iter().find(|watch| watch.vendor_symbol == vendor_symbol)
    }

    /// The watch of this instrument.
    pub fn by_symbol(&self, symbol: &Symbol) -> Option<&Watch> {
        self.watches.iter().find(|watch| watch.instrument.symbol == *symbol)
    }
}
