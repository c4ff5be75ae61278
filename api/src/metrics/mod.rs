//! `GET /metrics`: for Prometheus, in OpenMetrics text.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | the route, and what is kept between two looks |
//! | `families.rs` | the metrics: names, help, labels |
//! | `latency.rs` | histograms: from what cells measured to cumulative buckets |
//!
//! Counters and gauges are read when they are asked for. Latencies are measured by the cells with three digits and gathered
//! here at each look into the buckets of `latency.rs`, over all cells of the node.

mod families;
mod latency;

use std::sync::{Arc, Mutex, PoisonError};

use actix_web::{HttpResponse, web};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

use crate::source::NodeSource;
use families::NodeCollector;
use latency::Latencies;

/// Prometheus takes this as it is, and goes by it.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The metrics of a node.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    /// One look at a time: what cells measured is taken only once.
    looking: Mutex<()>,
}

impl Metrics {
    /// `shed` counts events that the system log has no room for, where there is one.
    pub(crate) fn new(node: Arc<dyn NodeSource>, shed: Option<Counter>) -> Self {
        let mut registry = Registry::with_prefix("tradeflow");
        if let Some(shed) = shed {
            registry.register("system_log_shed", "Events that the system log had no room for", shed);
        }
        registry.register_collector(Box::new(NodeCollector { node, latencies: Latencies::default() }));
        Self { registry, looking: Mutex::default() }
    }

    /// The page as it is now.
    pub(crate) fn page(&self) -> Result<String, std::fmt::Error> {
        let _one = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        let mut page = String::new();
        encode(&mut page, &self.registry)?;
        Ok(page)
    }
}

pub(crate) async fn get(metrics: web::Data<Metrics>) -> HttpResponse {
    // The bus may have to be asked, which can take a moment.
    match web::block(move || metrics.page()).await {
        Ok(Ok(page)) => HttpResponse::Ok().content_type(OPEN_METRICS).body(page),
        Ok(Err(_)) | Err(_) => HttpResponse::InternalServerError().body("the metrics can't be written\n"),
    }
}
