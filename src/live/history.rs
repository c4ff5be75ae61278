//! Warm-ups of live strategies from the catalog.

use tradeflow_live::{History, SessionPlan};
use tradeflow_model::market::Columns;
use tradeflow_model::plan::StrategyPlan;
use tradeflow_model::{SeriesId, Timestamp};
use tradeflow_storage::catalog::{Catalog, SeriesKey};

/// The past as the catalog has it.
pub struct CatalogHistory {
    catalog: Catalog,
}

impl CatalogHistory {
    /// Of a catalog.
    pub fn new(catalog: Catalog) -> Self {
        Self { catalog }
    }

    fn key(plan: &SessionPlan, series: SeriesId) -> SeriesKey {
        let series = &plan.run.series[series.index()];
        SeriesKey::new(plan.symbol(series.instrument).clone(), series.kind)
    }
}

impl History for CatalogHistory {
    fn find(
        &self,
        plan: &SessionPlan,
        strategy: &StrategyPlan,
        series: SeriesId,
    ) -> Result<Option<(Timestamp, Timestamp)>, String> {
        let key = Self::key(plan, series);
        let known = self.catalog.instrument(&key.symbol).map_err(|error| error.to_string())?;
        if known.is_none() {
            return Ok(None);
        }
        let files =
            self.catalog.files(&key, Timestamp::MIN, Timestamp::MAX).map_err(|error| error.to_string())?;
        let Some(last) = files.iter().map(|info| info.last).max() else { return Ok(None) };
        // Whole files until there are enough rows.
        let mut rows = 0;
        let mut from = last;
        for info in files.iter().rev() {
            if rows >= u64::from(strategy.warm_up_bars) {
                break;
            }
            rows += info.rows;
            from = from.min(info.first);
        }
        Ok(Some((from, last.saturating_add(1))))
    }

    fn read(
        &self,
        plan: &SessionPlan,
        series: SeriesId,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<Columns>, String> {
        let key = Self::key(plan, series);
        let rows = self.catalog.read(&key, from, to).map_err(|error| error.to_string())?;
        Ok(if rows.is_empty() { Vec::new() } else { vec![rows] })
    }
}
