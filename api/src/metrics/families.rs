//! The metrics: names, help, labels. All begin with `tradeflow_`; counters end with `_total` in the text.

use std::fmt::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use tradeflow_ingest::FeedState;
use tradeflow_ingest::normalise::Counts;
use tradeflow_ingest::quotes::Freshness;
use tradeflow_live::node::{CellView, StrategyView};

use super::latency::{Buckets, Latencies};
use crate::health::{Health, HealthState};
use crate::source::{FeedSource, NodeSource};
use crate::status::state_name;

/// Reads a node when it is asked for its metrics.
pub(super) struct NodeCollector {
    pub(super) node: Arc<dyn NodeSource>,
    pub(super) latencies: Latencies,
}

impl std::fmt::Debug for NodeCollector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeCollector").finish_non_exhaustive()
    }
}

impl Collector for NodeCollector {
    fn encode(&self, encoder: DescriptorEncoder) -> Result<(), Error> {
        let mut page = Page(encoder);
        self.node(&mut page)?;
        self.feeds(&mut page)?;
        self.bus(&mut page)?;
        self.cells(&mut page)?;
        self.recorder(&mut page)?;
        self.bars(&mut page)?;
        self.uploads(&mut page)
    }
}

type Labels<'a> = Vec<(&'static str, &'a str)>;

/// Writes families.
struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    fn counters<'l>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (Labels<'l>, u64)>,
    ) -> Result<(), Error> {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        let none: Option<&Exemplar<NoLabelSet, f64>> = None;
        rows.into_iter().try_for_each(|(labels, value)| match labels.is_empty() {
            true => family.encode_counter(&value, none),
            false => family.encode_family(&labels)?.encode_counter(&value, none),
        })
    }

    fn gauges<'l>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (Labels<'l>, f64)>,
    ) -> Result<(), Error> {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        rows.into_iter().try_for_each(|(labels, value)| match labels.is_empty() {
            true => family.encode_gauge(&value),
            false => family.encode_family(&labels)?.encode_gauge(&value),
        })
    }

    fn histogram(&mut self, name: &str, help: &str, buckets: &Buckets) -> Result<(), Error> {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        family.encode_histogram::<NoLabelSet>(buckets.sum(), buckets.count(), &buckets.buckets(), None)
    }
}

fn feed_label(feed: &FeedSource) -> Labels<'_> {
    vec![("feed", &feed.name)]
}

fn cell_label(cell: &CellView) -> Labels<'_> {
    vec![("account", &cell.account)]
}

fn strategy_label<'a>(cell: &'a CellView, strategy: &'a StrategyView) -> Labels<'a> {
    vec![("account", &cell.account), ("strategy", &strategy.id)]
}

fn of(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn yes(is: bool) -> f64 {
    f64::from(u8::from(is))
}

/// A decimal as it is shown; money in metrics is for curves, not for accounts.
fn number(text: &str) -> f64 {
    text.parse().unwrap_or(f64::NAN)
}

impl NodeCollector {
    fn node(&self, page: &mut Page<'_>) -> Result<(), Error> {
        let view = self.node.view();
        let health = Health::of(self.node.as_ref(), &view).status;
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        page.0.encode_descriptor("build", "The program.", None, MetricType::Info)?.encode_info(&version)?;
        let states = [HealthState::Ok, HealthState::Degraded, HealthState::Down];
        let rows = states.map(|state| (vec![("state", state.name())], yes(state == health)));
        page.gauges("health", "Whether the node works: 1 for the state that it is in.", rows)?;
        page.gauges("ready", "Whether the cells are up.", [(vec![], yes(view.ready))])?;
        let (board, mut counts) = (self.node.board(), [("live", 0), ("closed", 0), ("stale", 0)]);
        for quote in board.all(self.node.now()) {
            counts[match quote.freshness {
                Freshness::Live => 0,
                Freshness::Closed => 1,
                Freshness::Stale => 2,
            }]
            .1 += 1;
        }
        let rows = counts.map(|(freshness, count)| (vec![("freshness", freshness)], f64::from(count)));
        page.gauges(
            "quotes",
            "Instruments on the quote board, by how far their quotes can be relied on.",
            rows,
        )?;
        let switches = [(vec![], board.switches())];
        page.counters("quote_source_switches", "How often another source of quotes took over.", switches)
    }

    fn feeds(&self, page: &mut Page<'_>) -> Result<(), Error> {
        let feeds = self.node.feeds();
        let now = self.node.now().as_nanos();
        use FeedState::{Connecting, Live, Off, Refused, Silent};
        let states = feeds.iter().flat_map(|feed| {
            [Off, Connecting, Live, Silent, Refused].map(|state| {
                let labels = vec![("feed", feed.name.as_str()), ("state", state_name(state))];
                (labels, yes(feed.status.state() == state))
            })
        });
        page.gauges("feed_state", "State of a feed: 1 for the one that it is in.", states)?;
        let lags = feeds.iter().filter_map(|feed| {
            let last = feed.status.last_message.load(Ordering::Relaxed);
            (last > 0).then(|| (feed_label(feed), now.saturating_sub(last).max(0) as f64 / 1e9))
        });
        page.gauges("feed_lag_seconds", "Time since the last message of a feed.", lags)?;
        type Read = fn(&FeedSource, &Counts) -> u64;
        let counters: [(&str, &str, Read); 14] = [
            ("feed_messages", "Messages received.", |feed, _| of(&feed.status.messages)),
            ("feed_trades", "Trades received.", |feed, _| of(&feed.status.trades)),
            ("feed_quotes", "Quotes received.", |feed, _| of(&feed.status.quotes)),
            ("feed_published", "Rows that the bus has confirmed.", |_, counts| counts.published),
            ("feed_bad", "Messages and updates that make no sense.", |feed, _| of(&feed.status.bad)),
            ("feed_late", "Events later than they may be.", |feed, _| of(&feed.status.late)),
            ("feed_duplicates", "Trades that had come before.", |feed, _| of(&feed.status.duplicates)),
            ("feed_excluded", "Trades that their conditions exclude.", |_, counts| counts.excluded),
            ("feed_shed", "Rows left out under pressure.", |feed, _| of(&feed.status.shed)),
            ("feed_conflated", "Of those, rows that a newer one replaced.", |_, counts| counts.conflated),
            ("feed_rate_limited", "Requests that the vendor refused as too many.", |feed, _| {
                of(&feed.status.rate_limited)
            }),
            ("feed_reconnects", "Connections after the first.", |feed, _| {
                of(&feed.status.connects).saturating_sub(1)
            }),
            ("feed_disconnects", "Connections that ended.", |feed, _| of(&feed.status.disconnects)),
            ("feed_publish_errors", "Writes that the bus did not take.", |_, counts| counts.publish_errors),
        ];
        let counts: Vec<Counts> = feeds.iter().map(|feed| feed.counters.counts()).collect();
        for (name, help, read) in counters {
            let rows = feeds.iter().zip(&counts).map(|(feed, counts)| (feed_label(feed), read(feed, counts)));
            page.counters(name, help, rows)?;
        }
        let unserved = feeds.iter().map(|feed| (feed_label(feed), of(&feed.status.unserved) as f64));
        page.gauges("feed_unserved", "Symbols that the vendor does not serve, or over its limit.", unserved)?;
        let pending =
            feeds.iter().zip(&counts).map(|(feed, counts)| (feed_label(feed), counts.pending as f64));
        page.gauges("feed_pending_rows", "Rows on their way to the bus.", pending)
    }

    fn bus(&self, page: &mut Page<'_>) -> Result<(), Error> {
        let bus = self.node.bus();
        let lag = bus.lag.iter().map(|(topic, lag)| (vec![("topic", topic.as_str())], *lag as f64));
        page.gauges("bus_lag_records", "Records on the bus that the cells were not handed yet.", lag)?;
        let behind = [(vec![], bus.behind_ms as f64 / 1e3)];
        page.gauges("bus_behind_seconds", "Age of the record that the cells were handed last.", behind)?;
        page.counters("bus_records_read", "Records read for the cells.", [(vec![], bus.records)])?;
        let waits = [(vec![], bus.waits)];
        page.counters("bus_reader_waits", "How often a full mailbox made the reader of the bus wait.", waits)
    }

    fn cells(&self, page: &mut Page<'_>) -> Result<(), Error> {
        let (statuses, mut cells) = (self.node.cells(), self.node.view().cells);
        cells.sort_by(|a, b| a.account.cmp(&b.account));
        type Read<N> = fn(&CellView) -> N;
        let counters: [(&str, &str, Read<u64>); 5] = [
            ("events", "Market events taken.", |cell| cell.events),
            ("orders", "Orders.", |cell| cell.orders),
            ("fills", "Fills.", |cell| cell.fills),
            ("rejections", "Orders that the venue refused.", |cell| cell.rejected),
            ("snapshots", "Snapshots taken since the cell was brought up.", |cell| cell.snapshots),
        ];
        for (name, help, read) in counters {
            page.counters(name, help, cells.iter().map(|cell| (cell_label(cell), read(cell))))?;
        }
        let gauges: [(&str, &str, Read<f64>); 5] = [
            ("cell_halted", "Whether the cell is halted.", |cell| yes(cell.halted.is_some())),
            ("cell_pending_rows", "Rows of market data that wait in the cell.", |cell| cell.pending as f64),
            ("cell_open_orders", "Orders that are open.", |cell| cell.open_orders as f64),
            ("cell_recovery_seconds", "How long the cell took to be brought up.", |cell| {
                cell.recovery_ms / 1e3
            }),
            ("cell_snapshot_seconds", "How long its last snapshot took to be written.", |cell| {
                cell.snapshot_ms / 1e3
            }),
        ];
        for (name, help, read) in gauges {
            page.gauges(name, help, cells.iter().map(|cell| (cell_label(cell), read(cell))))?;
        }
        type ReadText = fn(&CellView) -> &str;
        let money: [(&str, &str, ReadText); 3] = [
            ("cell_equity", "Cash and positions at their marks.", |cell| &cell.equity),
            ("cell_realized", "Realized profit and loss.", |cell| &cell.realized),
            ("cell_unrealized", "Profit and loss of open positions.", |cell| &cell.unrealized),
        ];
        let named = || cells.iter().filter(|cell| !cell.currency.is_empty());
        for (name, help, read) in money {
            let rows = named().map(|cell| {
                (vec![("account", cell.account.as_str()), ("currency", &cell.currency)], number(read(cell)))
            });
            page.gauges(name, help, rows)?;
        }
        let rows = statuses.iter().map(|cell| (vec![("account", cell.account())], cell.mailbox() as f64));
        page.gauges("cell_mailbox_messages", "Messages that wait in the mailbox of a cell.", rows)?;
        let denials: Vec<_> = statuses.iter().map(|cell| (cell.account(), cell.denials())).collect();
        let rows = denials.iter().flat_map(|(account, denials)| {
            let rows = denials.iter();
            rows.map(move |(reason, count)| (vec![("account", *account), ("reason", reason)], *count))
        });
        page.counters("denials", "Orders that we refused since the cell was brought up, by the rule.", rows)?;
        let strategies = || {
            cells.iter().flat_map(|cell| {
                let strategies = cell.strategies.iter();
                strategies.map(move |strategy| (strategy_label(cell, strategy), strategy))
            })
        };
        let rows = strategies().map(|(labels, strategy)| (labels, yes(strategy.running)));
        page.gauges("strategy_running", "Whether the strategy runs.", rows)?;
        let rows = strategies().map(|(labels, strategy)| (labels, u64::from(strategy.failures)));
        page.counters("strategy_failures", "Failures of the strategy that were contained.", rows)?;
        let rows = strategies().map(|(labels, strategy)| (labels, yes(strategy.quarantined)));
        page.gauges("strategy_quarantined", "Whether the strategy was stopped for good.", rows)?;
        let kept = self.latencies.gather(statuses.iter().map(Arc::as_ref));
        let decision = "From receipt of a tick to the decision of the cell.";
        page.histogram("decision_latency_seconds", decision, &kept.decision)?;
        let fill = "From receipt of a tick to the fill on the bus.";
        page.histogram("fill_latency_seconds", fill, &kept.fill)?;
        page.histogram("journal_write_seconds", "Time of a write to the journal.", &kept.journal)
    }

    fn recorder(&self, page: &mut Page<'_>) -> Result<(), Error> {
        let Some(status) = self.node.recorder() else { return Ok(()) };
        let lag = [(vec![], status.lag_ns.load(Ordering::Relaxed) as f64 / 1e9)];
        page.gauges("recorder_lag_seconds", "How long the oldest row has waited to be written.", lag)?;
        let lag = [(vec![], of(&status.lag_records) as f64)];
        page.gauges("recorder_lag_records", "Records on the bus that are not in the catalog yet.", lag)?;
        let failing = [(vec![], yes(status.failing.load(Ordering::Relaxed)))];
        page.gauges("recorder_failing", "Whether the last try to write failed.", failing)?;
        for (name, help, counter) in [
            ("recorder_records", "Records read.", &status.records),
            ("recorder_rows", "Rows written to the catalog.", &status.rows),
            ("recorder_rows_refused", "Rows that could not go into their series.", &status.rows_refused),
            ("recorder_conflicts", "Bars left out: they contradict one that is there.", &status.conflicts),
            ("recorder_poison", "Records set aside: they can't be read.", &status.poison),
            ("recorder_lost", "Records that retention took before they were read.", &status.lost),
            ("recorder_flushes", "Flushes.", &status.flushes),
            ("recorder_failures", "Tries to write that failed.", &status.failures),
        ] {
            page.counters(name, help, [(vec![], of(counter))])?;
        }
        Ok(())
    }

    fn uploads(&self, page: &mut Page<'_>) -> Result<(), Error> {
        let Some(status) = self.node.uploads() else { return Ok(()) };
        let waiting = [(vec![], of(&status.waiting) as f64)];
        page.gauges("results_waiting", "Runs on disk here that are not in ClickHouse yet.", waiting)?;
        let set_aside = [(vec![], of(&status.set_aside) as f64)];
        page.gauges("results_set_aside", "Runs whose folders are too damaged to be uploaded.", set_aside)?;
        let failing = [(vec![], yes(status.failing.load(Ordering::Relaxed)))];
        page.gauges("results_failing", "Whether ClickHouse was away, or refused, at the last try.", failing)
    }

    fn bars(&self, page: &mut Page<'_>) -> Result<(), Error> {
        let Some(status) = self.node.bars() else { return Ok(()) };
        for (name, help, counter) in [
            ("bars_made", "Bars made.", &status.bars),
            ("bars_ticks", "Ticks that bars were made of.", &status.ticks),
            ("bars_late_ticks", "Ticks for bars that were closed already.", &status.late),
            ("bars_outside_ticks", "Ticks outside the sessions of their instrument.", &status.outside),
            ("bars_bad_records", "Records that bars can't be made of.", &status.bad),
            ("bars_gaps", "Bars left out: retention had taken some of their ticks.", &status.gaps),
        ] {
            page.counters(name, help, [(vec![], of(counter))])?;
        }
        Ok(())
    }
}
