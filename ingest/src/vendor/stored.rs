//! A catalog's history as a market: all of it is past, and nothing happens any more.

use std::sync::Arc;

use tokio::sync::broadcast;
use tradeflow_model::market::{Columns, PriceType, SeriesKind};
use tradeflow_model::{
    Bar, CorporateAction, Instrument, InstrumentId, Interval, SeriesId, Symbol, Timestamp,
};
use tradeflow_storage::catalog::{Catalog, CatalogError, SeriesKey};

use super::{Market, Tick};
use crate::clock::{Clock, SystemClock};

/// Serves bars, splits and dividends of a catalog, at the machine's time.
pub struct Stored {
    catalog: Catalog,
    instruments: Vec<Instrument>,
    ticks: broadcast::Sender<Arc<[Tick]>>,
}

impl Stored {
    /// The instruments of a catalog. Blocks.
    ///
    /// # Errors
    /// When it can't be read, or holds none.
    pub fn open(catalog: Catalog) -> Result<Self, String> {
        let instruments = catalog.instruments().map_err(|error| error.to_string())?;
        if instruments.is_empty() {
            return Err(format!("{}: the catalog holds no instrument", catalog.url()));
        }
        Ok(Self { catalog, instruments, ticks: broadcast::Sender::new(1) })
    }
}

fn read(catalog: &Catalog, key: &SeriesKey, from: Timestamp, to: Timestamp) -> Result<Columns, String> {
    catalog.read(key, from, to).map_err(|error: CatalogError| error.to_string())
}

/// Splits and dividends of a catalog, as [`Market::actions`] gives them. Blocks.
pub(super) fn actions(
    catalog: &Catalog,
    symbol: &Symbol,
    from: Timestamp,
    to: Timestamp,
) -> Result<Vec<CorporateAction>, String> {
    match read(catalog, &SeriesKey::new(symbol.clone(), SeriesKind::Actions), from, to)? {
        Columns::Actions(rows) => Ok(rows),
        _ => Ok(Vec::new()),
    }
}

impl Market for Stored {
    fn instruments(&self) -> &[Instrument] {
        &self.instruments
    }

    fn now(&self) -> Timestamp {
        SystemClock.now()
    }

    fn bars(
        &self,
        symbol: &Symbol,
        interval: Interval,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<Bar>, String> {
        let key = SeriesKey::bars(symbol.clone(), interval, PriceType::Last);
        let Columns::Bars(bars) = read(&self.catalog, &key, from, to)? else { return Ok(Vec::new()) };
        let now = self.now();
        let rows = bars.rows(0..bars.ts_open.len(), SeriesId(0), InstrumentId(0));
        Ok(rows.take_while(|bar| bar.ts_event <= now).collect())
    }

    fn actions(
        &self,
        symbol: &Symbol,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<CorporateAction>, String> {
        actions(&self.catalog, symbol, from, to)
    }

    fn last(&self, _symbol: &Symbol) -> (Option<Tick>, Option<Tick>) {
        (None, None)
    }

    fn subscribe(&self) -> broadcast::Receiver<Arc<[Tick]>> {
        self.ticks.subscribe()
    }
}
