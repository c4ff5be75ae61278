//! Rows into the catalog through the checks of the import, and the note of what was asked. All of it blocks.

use std::fmt::Write;

use tradeflow_model::calendar::Calendar;
use tradeflow_model::market::{ActionKind, Columns, PriceType, SeriesKind};
use tradeflow_model::{AssetClass, Currency, Instrument, Symbol, Timestamp};
use tradeflow_storage::catalog::{Catalog, CatalogError, ConflictPolicy, Covered, SeriesKey};
use tradeflow_storage::import::{
    self, Action, ImportError, InstrumentOptions, Layout, Policy, Quiet, Report, Request, RowKind, Table,
    TimeFormat,
};

use super::fill::Wanted;
use super::slots::slot_of;
use super::{Piece, RawBar};

/// A split or dividend, and the day of it.
type DatedAction = (Timestamp, ActionKind);

/// Rows that wait to be written, and the stretches that they answer.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) bars: Vec<RawBar>,
    pub(super) actions: Vec<DatedAction>,
    pub(super) answered: Vec<(Timestamp, Timestamp)>,
}

/// The place in the catalog that one symbol of one vendor is fetched into.
#[derive(Debug, Clone)]
pub(super) struct Shelf {
    pub(super) catalog: Catalog,
    pub(super) vendor: &'static str,
    pub(super) wanted: Wanted,
    pub(super) conflict: ConflictPolicy,
}

impl Shelf {
    fn key(&self) -> SeriesKey {
        SeriesKey::bars(self.wanted.symbol.clone(), self.wanted.interval, PriceType::Last)
    }

    /// What of `from..to` the catalog does not have and the vendor was not asked for.
    pub(super) fn missing(
        &self,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<(Timestamp, Timestamp)>, CatalogError> {
        let key = self.key();
        let everything = vec![(from, to)];
        let wanted = match self.catalog.gaps(&key, Some(from), Some(to), i64::MAX) {
            Ok(None) | Err(CatalogError::NoInstrument { .. }) => everything,
            Ok(Some(report)) if report.rows == 0 => everything,
            Ok(Some(report)) => {
                let gaps = report.gaps.iter().map(|gap| (gap.from.max(from), gap.to.min(to)));
                gaps.filter(|(from, to)| from < to).collect()
            }
            Err(error) => return Err(error),
        };
        let mut coverage = self.catalog.coverage(self.vendor, &key)?;
        let mut failed = None;
        coverage.retain(|stretch| {
            stretch.to > from
                && stretch.from < to
                && self.rows(&key, stretch.from, stretch.to).map_or_else(
                    |error| {
                        failed = Some(error);
                        false
                    },
                    |rows| rows >= stretch.rows,
                )
        });
        match failed {
            Some(error) => Err(error),
            None => Ok(coverage.missing_of(&wanted)),
        }
    }

    fn rows(&self, key: &SeriesKey, from: Timestamp, to: Timestamp) -> Result<u64, CatalogError> {
        match self.catalog.read(key, from, to) {
            Ok(rows) => Ok(rows.len() as u64),
            Err(CatalogError::NoInstrument { .. }) => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// The instrument, where the catalog has it.
    pub(super) fn instrument(&self) -> Result<Option<Instrument>, CatalogError> {
        self.catalog.instrument(&self.wanted.symbol)
    }

    /// Checks and writes a batch, then notes what it answers. Also gives what was left out of its actions, in words.
    pub(super) fn commit(&self, batch: &Batch, facts: &Facts) -> Result<(Report, Vec<String>), ImportError> {
        let instrument = self.instrument()?;
        let mut text = String::new();
        if !batch.bars.is_empty() {
            text.push_str("time,open,high,low,close,volume\n");
        }
        for bar in &batch.bars {
            let RawBar { ts_open, open, high, low, close, volume } = bar;
            let _ = writeln!(text, "{},{open},{high},{low},{close},{volume}", ts_open.as_nanos());
        }
        let mut layout = Layout { interval: Some(self.wanted.interval), ..Layout::new(RowKind::Bar) };
        layout.time = TimeFormat::EpochNanos;
        let mut options = InstrumentOptions::default();
        match &instrument {
            // What the vendor prints with more decimals than we keep is rounded, and counted.
            Some(known) => (layout.round, layout.round_sizes) = (Some(known.price_scale), known.size_scale),
            None => {
                layout.round = Some(tradeflow_model::MAX_SCALE);
                options.class = facts.class;
                let is_share = facts.class_of(&self.wanted.symbol) == AssetClass::Equity;
                options.quote =
                    facts.currency.as_deref().filter(|_| is_share).and_then(|c| Currency::new(c).ok());
            }
        }
        let mut policy = Policy::default();
        policy.set_contradictions(Action::Drop);
        let (actions, notes) = self.new_actions(&batch.actions)?;
        let request = Request {
            files: Vec::new(),
            layout,
            symbol: Some(self.wanted.symbol.clone()),
            instrument: options,
            member: None,
            policy,
            conflict: self.conflict,
            dry_run: false,
        };
        let name = format!("{} {}", self.vendor, self.wanted.vendor_symbol);
        let table = Table { name: &name, text: text.as_bytes(), actions: &actions };
        let report = if batch.bars.is_empty() && actions.is_empty() {
            Report::default()
        } else {
            import::import_table(&self.catalog, &request, &table, &Quiet)?
        };
        self.note(&batch.answered)?;
        Ok((report, notes))
    }

    /// The actions without those that the catalog has of their time and kind, which another vendor may round
    /// differently: to pay a dividend twice is worse than to pay it a hundredth of a cent off.
    fn new_actions(&self, actions: &[DatedAction]) -> Result<(Vec<DatedAction>, Vec<String>), CatalogError> {
        let (Some((first, _)), Some((last, _))) = (actions.first(), actions.last()) else {
            return Ok((Vec::new(), Vec::new()));
        };
        let key = SeriesKey::new(self.wanted.symbol.clone(), SeriesKind::Actions);
        let known = match self.catalog.read(&key, *first, last.saturating_add(1)) {
            Ok(Columns::Actions(rows)) => rows,
            Ok(_) | Err(CatalogError::NoInstrument { .. }) => Vec::new(),
            Err(error) => return Err(error),
        };
        let is_same_kind =
            |a: &ActionKind, b: &ActionKind| std::mem::discriminant(a) == std::mem::discriminant(b);
        let mut notes = Vec::new();
        let mut new = Vec::new();
        for (time, kind) in actions {
            let there = known.iter().find(|row| row.ts_event == *time && is_same_kind(&row.kind, kind));
            match there {
                Some(row) if row.kind != *kind => notes.push(format!(
                    "the catalog's {} of {time} stays: {} says {}",
                    action_text(&row.kind),
                    self.vendor,
                    action_text(kind)
                )),
                _ => new.push((*time, *kind)),
            }
        }
        Ok((new, notes))
    }

    fn note(&self, answered: &[(Timestamp, Timestamp)]) -> Result<(), CatalogError> {
        if answered.is_empty() {
            return Ok(());
        }
        let key = self.key();
        let mut coverage = self.catalog.coverage(self.vendor, &key)?;
        // What is answered anew was not there any more: it takes the place of what it lies in.
        coverage.retain(|old| answered.iter().all(|(from, to)| old.to <= *from || old.from >= *to));
        for &(from, to) in answered {
            coverage.add(Covered { from, to, rows: self.rows(&key, from, to)? });
        }
        self.catalog.put_coverage(self.vendor, &key, &coverage)
    }
}

/// A split or dividend in words.
fn action_text(kind: &ActionKind) -> String {
    match kind {
        ActionKind::Split { new, old } => format!("split {new}:{old}"),
        ActionKind::Dividend { amount } => format!("dividend {amount}"),
    }
}

/// What is known of the instrument before the catalog has it.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    pub(super) class: Option<AssetClass>,
    pub(super) currency: Option<String>,
}

impl Facts {
    /// Learns from an answer.
    pub(super) fn learn(&mut self, piece: &Piece) {
        self.class = self.class.or(piece.class);
        if self.currency.is_none() {
            self.currency.clone_from(&piece.currency);
        }
    }

    /// The class: said, or as the symbol suggests.
    pub(super) fn class_of(&self, symbol: &Symbol) -> AssetClass {
        self.class.unwrap_or_else(|| import::class_of(symbol))
    }

    /// When such an instrument trades.
    pub(super) fn calendar(&self, symbol: &Symbol) -> Calendar {
        match self.class_of(symbol) {
            AssetClass::Equity => Calendar::Nyse,
            AssetClass::FxPair => Calendar::FxWeek,
            AssetClass::CryptoSpot | AssetClass::Perpetual => Calendar::AlwaysOpen,
            AssetClass::Future => Calendar::CmeGlobex,
        }
    }
}

/// What of an answer is wanted: bars that open in a wanted stretch and are over, actions in it; and how far each
/// stretch is answered for good.
pub(super) fn pick(
    batch: &mut Batch,
    piece: &Piece,
    stretches: &[(Timestamp, Timestamp)],
    wanted: &Wanted,
    calendar: Calendar,
    (now, settles_in): (Timestamp, i64),
) {
    let is_in = |t: Timestamp| stretches.iter().any(|(from, to)| *from <= t && t < *to);
    let start = batch.bars.len();
    let mut ends = Vec::new();
    for bar in &piece.bars {
        let slot = slot_of(calendar, wanted.interval, bar.ts_open);
        if slot.end <= now && is_in(slot.key) {
            batch.bars.push(*bar);
            ends.push(slot);
        }
    }
    batch.bars[start..].sort_by_key(|bar| bar.ts_open);
    batch.actions.extend(piece.actions.iter().filter(|(time, _)| is_in(*time)));
    let settled = now.saturating_add(-settles_in);
    for &(from, to) in stretches {
        let to = if to <= settled {
            to
        } else {
            let last =
                ends.iter().filter(|slot| from <= slot.key && slot.key < to).map(|slot| slot.end).max();
            // Nothing came for it yet, and something may still come.
            last.map_or(from, |last| last.min(to)).max(settled.clamp(from, to))
        };
        if from < to {
            batch.answered.push((from, to));
        }
    }
}
