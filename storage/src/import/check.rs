//! Checks of whole series, in time order: duplicates, conflicts, spikes, gaps. And the columns that pass them.

use std::collections::BTreeSet;

use tradeflow_model::fixed::to_decimal;
use tradeflow_model::market::{Aggressor, Columns, QuoteColumns, SeriesKind, TradeColumns};
use tradeflow_model::time::{Interval, Timestamp};
use tradeflow_model::{AssetClass, BarColumns, Instrument};

use super::error::ImportError;
use super::gaps::GapTest;
use super::report::{Action, Check, SeriesReport};
use super::spike::{Spike, SpikeTest};
use super::stage::{Overflow, Scales};
use super::{Importer, place_of};

/// The rows of a partition, one after another, and the order in which to read them.
struct Sorted {
    values: Vec<i64>,
    width: usize,
    order: Vec<u32>,
}

impl Sorted {
    fn rows(&self) -> impl Iterator<Item = &[i64]> {
        self.order.iter().map(|at| &self.values[*at as usize * self.width..][..self.width])
    }
}

impl Importer<'_> {
    /// Checks every series; the origins of the rows that are to be left out.
    pub(super) fn check_series(&mut self, instruments: &[Instrument]) -> Result<BTreeSet<i64>, ImportError> {
        let mut left_out = BTreeSet::new();
        let partitions = self.stage.series.iter().map(|series| series.partitions().len() as u64).sum();
        self.progress.read_all(partitions);
        for at in 0..self.stage.series.len() {
            let instrument = &instruments[self.stage.series[at].subject];
            let report = self.check_one(at, instrument, &mut left_out)?;
            self.report.series.push(report);
        }
        Ok(left_out)
    }

    fn check_one(
        &mut self,
        series: usize,
        instrument: &Instrument,
        left_out: &mut BTreeSet<i64>,
    ) -> Result<SeriesReport, ImportError> {
        let kind = self.stage.series[series].kind;
        let (name, interval, session_check) = match kind {
            SeriesKind::Bars { interval, price_type } => {
                (format!("bar {interval} {}", price_type.name()), interval, interval.nanos().is_some())
            }
            SeriesKind::Trades => ("trade".to_owned(), Interval::DAY, false),
            _ => ("quote".to_owned(), Interval::DAY, false),
        };
        let mut spikes = SpikeTest::new(instrument.class, instrument.price_scale);
        let mut gaps = GapTest::new(instrument.calendar, interval);
        let mut rows = 0;
        let (mut first, mut last) = (None, 0);
        for partition in self.stage.series[series].partitions() {
            if self.progress.stopped() {
                return Err(ImportError::Stopped);
            }
            let sorted = self.sorted(series, partition, instrument)?;
            let is_bars = matches!(kind, SeriesKind::Bars { .. });
            let mut previous: Option<&[i64]> = None;
            for row in sorted.rows() {
                let (key, origin) = (row[0], row[row.len() - 1]);
                if let Some(previous) = previous.filter(|previous| is_bars && previous[0] == key) {
                    self.second_bar(previous, row, instrument, left_out);
                    continue;
                }
                previous = Some(row);
                rows += 1;
                first.get_or_insert(key);
                last = key;
                let (low, high, close) = match kind {
                    SeriesKind::Bars { .. } => (
                        row[2].min(row[3]).min(row[4]).min(row[5]),
                        row[2].max(row[3]).max(row[4]).max(row[5]),
                        row[5],
                    ),
                    SeriesKind::Trades => (row[1], row[1], row[1]),
                    _ => (row[1].min(row[2]), row[1].max(row[2]), row[1] / 2 + row[2] / 2),
                };
                if let Some(spike) = spikes.push(key, low, high, close, origin) {
                    rows -= u64::from(self.spike(spike, left_out));
                }
                if !gaps.push(key) && session_check {
                    let kept = self.judge_origin(Check::OutsideSession, origin, || {
                        format!("the bar of {} starts outside all sessions", Timestamp::from_nanos(key))
                    });
                    if !kept {
                        left_out.insert(origin);
                        rows -= 1;
                    }
                }
            }
            self.progress.partition();
        }
        while let Some(spike) = spikes.finish() {
            if let Some(spike) = spike {
                rows -= u64::from(self.spike(spike, left_out));
            }
        }
        if instrument.class == AssetClass::FxPair && session_check && gaps.outside > rows / 1000 + 20 {
            self.report.notes.push(format!(
                "{} {name}: {} bars start outside all sessions; their time zone may be another than {} (--time-zone)",
                instrument.symbol, gaps.outside, self.layout.zone
            ));
        }
        if instrument.class != AssetClass::FxPair && session_check && gaps.outside > rows / 4 + 20 {
            let class = format!("{:?}", instrument.class).to_lowercase();
            self.report.notes.push(format!(
                "{} {name}: {} of {rows} bars start outside all sessions of class {}; is that right? \
                 (--class, --calendar)",
                instrument.symbol, gaps.outside, class
            ));
        }
        let text = |nanos: i64| Timestamp::from_nanos(nanos).to_string();
        Ok(SeriesReport {
            symbol: instrument.symbol.to_string(),
            kind: name,
            rows,
            first: first.map_or(String::new(), text),
            last: first.map_or(String::new(), |_| text(last)),
            gaps: gaps.finish(),
            ..SeriesReport::default()
        })
    }

    /// The second of two bars of one time: the same again, or a contradiction.
    fn second_bar(
        &mut self,
        first: &[i64],
        second: &[i64],
        instrument: &Instrument,
        left_out: &mut BTreeSet<i64>,
    ) {
        let origin = second[second.len() - 1];
        left_out.insert(origin);
        let time = Timestamp::from_nanos(second[0]);
        if first[..first.len() - 1] == second[..second.len() - 1] {
            self.judge_origin(Check::Duplicate, origin, || format!("the bar of {time} is there twice"));
            return;
        }
        let text = |row: &[i64]| {
            let prices: Vec<_> = row[2..6]
                .iter()
                .map(|raw| to_decimal(*raw, instrument.price_scale).normalize().to_string())
                .collect();
            format!("{}, volume {}", prices.join(" "), to_decimal(row[6], instrument.size_scale).normalize())
        };
        let (source, line) = place_of(first[first.len() - 1]);
        let place = self.sources[source].at(line);
        self.judge_origin(Check::Conflict, origin, || {
            format!("the bar of {time} is ({}), but in {place} it is ({})", text(second), text(first))
        });
    }

    /// Whether the row is left out.
    fn spike(&mut self, spike: Spike, left_out: &mut BTreeSet<i64>) -> bool {
        let time = Timestamp::from_nanos(spike.key);
        let kept = self.judge_origin(Check::Spike, spike.origin, || format!("{time}: {}", spike.detail));
        !kept && left_out.insert(spike.origin)
    }

    fn judge_origin(&mut self, check: Check, origin: i64, detail: impl FnOnce() -> String) -> bool {
        let action = self.policy.action(check);
        let (source, line) = place_of(origin);
        let place = &self.sources[source];
        self.report.add(check, action, place, line, detail);
        action == Action::Keep
    }

    fn sorted(
        &mut self,
        series: usize,
        partition: i64,
        instrument: &Instrument,
    ) -> Result<Sorted, ImportError> {
        let scales = Scales { price: instrument.price_scale, size: instrument.size_scale };
        let width = self.stage.series[series].width();
        let values = self.stage.load(series, partition, scales)?.map_err(|overflow: Overflow| {
            let (source, line) = place_of(overflow.origin);
            let (what, scale) =
                if overflow.price { ("price", scales.price) } else { ("size", scales.size) };
            ImportError::input(
                &self.sources[source].at(line),
                format!(
                    "a {what} is too large to be kept with {scale} decimals, which other rows or the flags ask for \
                     (18 digits is the most); round with --round, or import the instrument's data apart"
                ),
            )
        })?;
        let count = values.len() / width;
        let mut order: Vec<u32> = (0..count as u32).collect();
        let key = |at: &u32| values[*at as usize * width];
        // Rows of one instant stay in the order in which the files have them.
        if !order.is_sorted_by_key(key) {
            order.sort_by_key(key);
        }
        Ok(Sorted { values, width, order })
    }

    /// The columns of a partition without the rows that are left out, and the file that most of it is from.
    pub(super) fn columns(
        &mut self,
        series: usize,
        partition: i64,
        instrument: &Instrument,
        left_out: &BTreeSet<i64>,
    ) -> Result<(Columns, String), ImportError> {
        let sorted = self.sorted(series, partition, instrument)?;
        let last = sorted.width - 1;
        let rows = sorted.rows().filter(|row| left_out.is_empty() || !left_out.contains(&row[last]));
        let mut source: Option<i64> = None;
        let columns = match self.stage.series[series].kind {
            SeriesKind::Bars { .. } => {
                let mut c = BarColumns::default();
                for row in rows {
                    source.get_or_insert(row[last]);
                    c.ts_open.push(row[0]);
                    c.ts_event.push(row[1]);
                    c.open.push(row[2]);
                    c.high.push(row[3]);
                    c.low.push(row[4]);
                    c.close.push(row[5]);
                    c.volume.push(row[6]);
                }
                c.ts_init = c.ts_event.clone();
                Columns::Bars(c)
            }
            SeriesKind::Trades => {
                let mut c = TradeColumns::default();
                for row in rows {
                    source.get_or_insert(row[last]);
                    c.ts_event.push(row[0]);
                    c.price.push(row[1]);
                    c.qty.push(row[2]);
                    c.aggressor.push(match row[3] {
                        side if side == Aggressor::Buyer as i64 => Aggressor::Buyer,
                        side if side == Aggressor::Seller as i64 => Aggressor::Seller,
                        _ => Aggressor::Unknown,
                    });
                }
                c.ts_init = c.ts_event.clone();
                Columns::Trades(c)
            }
            _ => {
                let mut c = QuoteColumns::default();
                for row in rows {
                    source.get_or_insert(row[last]);
                    c.ts_event.push(row[0]);
                    c.bid.push(row[1]);
                    c.ask.push(row[2]);
                    c.bid_size.push(row[3]);
                    c.ask_size.push(row[4]);
                }
                c.ts_init = c.ts_event.clone();
                Columns::Quotes(c)
            }
        };
        Ok((columns, source.map_or(String::new(), |origin| self.source_name(origin))))
    }
}
