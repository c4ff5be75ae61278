//! What an import found and did.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::str::FromStr;

use serde::Serialize;
use tradeflow_model::Instrument;

use super::error::Place;

/// A check of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// A field is missing or is not what it should be.
    Malformed,
    /// A row that has no price at all (`null`, `NaN`, empty).
    NoPrice,
    /// High below open, close or low, or low above open or close.
    Ohlc,
    /// A price that is not above zero, or a size below zero.
    NonPositive,
    /// Two bars of one time that differ.
    Conflict,
    /// A price far from those before and after it.
    Spike,
    /// A bid above the ask.
    Crossed,
    /// A bid equal to the ask.
    Locked,
    /// A daily or weekly bar on a date on which the calendar has no session.
    NoSession,
    /// A bar that starts outside all sessions.
    OutsideSession,
    /// A row earlier than the one before it; rows are sorted.
    OutOfOrder,
    /// A bar that is there twice; once is kept.
    Duplicate,
    /// A price or size that was rounded.
    Rounded,
}

/// What becomes of a row that fails a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Nothing of the import is written.
    Reject,
    /// The row is left out and listed.
    Drop,
    /// The row is kept and counted.
    Keep,
}

impl Check {
    /// All checks.
    pub const ALL: [Self; 13] = [
        Self::Malformed,
        Self::NoPrice,
        Self::Ohlc,
        Self::NonPositive,
        Self::Conflict,
        Self::Spike,
        Self::Crossed,
        Self::Locked,
        Self::NoSession,
        Self::OutsideSession,
        Self::OutOfOrder,
        Self::Duplicate,
        Self::Rounded,
    ];

    /// The name in flags and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::NoPrice => "no-price",
            Self::Ohlc => "ohlc",
            Self::NonPositive => "non-positive",
            Self::Conflict => "conflict",
            Self::Spike => "spike",
            Self::Crossed => "crossed",
            Self::Locked => "locked",
            Self::NoSession => "no-session",
            Self::OutsideSession => "outside-session",
            Self::OutOfOrder => "out-of-order",
            Self::Duplicate => "duplicate",
            Self::Rounded => "rounded",
        }
    }

    /// Whether a row that fails it contradicts itself or another (as against one that is only unlikely).
    pub fn is_contradiction(self) -> bool {
        matches!(self, Self::Malformed | Self::Ohlc | Self::NonPositive | Self::Conflict)
    }

    /// Whether such a row could be kept at all.
    fn can_keep(self) -> bool {
        !matches!(self, Self::Malformed | Self::NoPrice | Self::Conflict | Self::Duplicate)
    }

    fn default_action(self) -> Action {
        match self {
            _ if self.is_contradiction() => Action::Reject,
            Self::NoPrice | Self::Duplicate => Action::Drop,
            _ => Action::Keep,
        }
    }
}

impl FromStr for Action {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "reject" => Ok(Self::Reject),
            "drop" => Ok(Self::Drop),
            "keep" => Ok(Self::Keep),
            _ => Err(format!("{text:?} is not one of reject, drop, keep")),
        }
    }
}

impl Action {
    fn name(self) -> &'static str {
        match self {
            Self::Reject => "reject",
            Self::Drop => "drop",
            Self::Keep => "keep",
        }
    }
}

/// What becomes of the rows that fail each check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    actions: BTreeMap<Check, Action>,
}

impl Default for Policy {
    fn default() -> Self {
        Self { actions: Check::ALL.iter().map(|check| (*check, check.default_action())).collect() }
    }
}

impl Policy {
    /// Sets the action for all contradictions. Those that can't be kept (a malformed row, the second of two bars of
    /// one time) are dropped instead.
    pub fn set_contradictions(&mut self, action: Action) {
        for check in Check::ALL.into_iter().filter(|check| check.is_contradiction()) {
            let possible = if action == Action::Keep && !check.can_keep() { Action::Drop } else { action };
            self.actions.insert(check, possible);
        }
    }

    /// Sets the action for one check, written `spike=drop`.
    ///
    /// # Errors
    /// In words, for an unknown check or action, or one that is not possible.
    pub fn set(&mut self, text: &str) -> Result<(), String> {
        let (name, action) = text.split_once('=').ok_or_else(|| format!("{text:?} is not CHECK=ACTION"))?;
        let action: Action = action.parse()?;
        let check = Check::ALL.into_iter().find(|check| check.name() == name).ok_or_else(|| {
            let names: Vec<_> = Check::ALL.iter().map(|check| check.name()).collect();
            format!("{name:?} is not a check: {}", names.join(", "))
        })?;
        if action == Action::Keep && !check.can_keep() {
            return Err(format!("a row that fails the check {name} can't be kept: use reject or drop"));
        }
        if action == Action::Drop && matches!(check, Check::Rounded | Check::OutOfOrder) {
            return Err(format!("a row that fails the check {name} can't be left out: use keep or reject"));
        }
        self.actions.insert(check, action);
        Ok(())
    }

    /// What becomes of a row that fails `check`.
    pub fn action(&self, check: Check) -> Action {
        self.actions.get(&check).copied().unwrap_or_else(|| check.default_action())
    }
}

/// A row that failed a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The file.
    pub file: String,
    /// The member of an archive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
    /// The line or row, from 1.
    pub line: u64,
    /// The check.
    pub check: Check,
    /// What is wrong, with the values.
    pub detail: String,
}

impl Finding {
    fn text(&self) -> String {
        let place = Place { file: self.file.clone(), member: self.member.clone(), line: self.line };
        format!("{place}: {}", self.detail)
    }
}

/// The rows that failed a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// What became of them.
    pub action: Action,
    /// How many.
    pub rows: u64,
    /// The first of them.
    pub first: Vec<Finding>,
}

/// A file that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileReport {
    /// The file, and the member of an archive.
    pub name: String,
    /// Rows, without header and blank lines.
    pub rows: u64,
}

/// A stretch of expected bars that are not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// Open of the first missing bar.
    pub from: String,
    /// Close of the last missing bar.
    pub to: String,
    /// Missing bars (sessions, for trades and quotes).
    pub bars: u64,
}

/// What is missing against the calendar between the first and the last row.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct GapReport {
    /// Bars (sessions, for trades and quotes) that the calendar expects.
    pub expected: u64,
    /// Those that are not there.
    pub missing: u64,
    /// Stretches of them.
    pub gaps: u64,
    /// The longest stretches, the longest first.
    pub longest: Vec<Gap>,
    /// Whether the calendar's facts cover the whole stretch; where not, holidays count as missing.
    pub covered: bool,
}

/// A series that was imported.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct SeriesReport {
    /// The symbol.
    pub symbol: String,
    /// What it holds: `bar 1m last`, `trade`, `quote`, `action`.
    pub kind: String,
    /// Rows after the checks.
    pub rows: u64,
    /// Rows that the catalog did not have.
    pub added: u64,
    /// Rows that it had.
    pub unchanged: u64,
    /// Rows that took another's place.
    pub replaced: u64,
    /// Rows that differ from the catalog's and were left out.
    pub kept_old: u64,
    /// First key time (start of a bar).
    pub first: String,
    /// Last key time.
    pub last: String,
    /// What is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gaps: Option<GapReport>,
}

/// An instrument of the import.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InstrumentReport {
    /// Its definition.
    pub instrument: Instrument,
    /// Whether it is new in the catalog.
    pub new: bool,
    /// What was assumed about it, and how to say otherwise.
    pub assumed: Vec<String>,
}

/// What an import found and did.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Report {
    /// The files, in the order in which they were read.
    pub files: Vec<FileReport>,
    /// Things worth knowing.
    pub notes: Vec<String>,
    /// The instruments.
    pub instruments: Vec<InstrumentReport>,
    /// The series.
    pub series: Vec<SeriesReport>,
    /// Rows that failed checks.
    pub checks: BTreeMap<Check, CheckReport>,
    /// Files of the catalog that were written.
    pub files_written: u64,
    /// Every row that was left out, duplicates aside.
    #[serde(skip)]
    pub dropped: Vec<Finding>,
}

/// Findings of each check that the report spells out.
pub(super) const FIRST_MAX: usize = 20;
/// Dropped rows that are listed. (A file of which more is dropped is read with the wrong layout.)
const DROPPED_MAX: usize = 1_000_000;

impl Report {
    /// Counts a row that failed a check.
    pub(super) fn add(
        &mut self,
        check: Check,
        action: Action,
        place: &Place,
        line: u64,
        detail: impl FnOnce() -> String,
    ) {
        let entry = self.checks.entry(check).or_insert(CheckReport { action, rows: 0, first: Vec::new() });
        entry.rows += 1;
        let list_drop =
            action == Action::Drop && check != Check::Duplicate && self.dropped.len() < DROPPED_MAX;
        if entry.first.len() >= FIRST_MAX && !list_drop {
            return;
        }
        let Place { file, member, .. } = place.clone();
        let finding = Finding { file, member, line, check, detail: detail() };
        if list_drop {
            self.dropped.push(finding.clone());
        }
        if entry.first.len() < FIRST_MAX {
            entry.first.push(finding);
        }
    }

    /// Rows that failed a check.
    pub fn count(&self, check: Check) -> u64 {
        self.checks.get(&check).map_or(0, |found| found.rows)
    }

    /// Rows that failed checks whose action is `reject`.
    pub(super) fn rejected(&self) -> u64 {
        self.checks.values().filter(|found| found.action == Action::Reject).map(|found| found.rows).sum()
    }

    /// Why nothing was imported, with the first rows and what to do.
    pub(super) fn rejection(&self) -> String {
        let mut text = format!("{} rows failed checks, so nothing was imported:", self.rejected());
        for (check, found) in &self.checks {
            if found.action != Action::Reject {
                continue;
            }
            for finding in &found.first {
                let _ = write!(text, "\n  {}: {}", check.name(), finding.text());
            }
            if found.rows > found.first.len() as u64 {
                let _ =
                    write!(text, "\n  {}: and {} more", check.name(), found.rows - found.first.len() as u64);
            }
        }
        text.push_str(
            "\nLook at the layout first (`--list-presets`, `--columns`). To import the rest, leave such rows out with \
             `--policy drop`, or choose for one check with `--on CHECK=drop` or `--on CHECK=keep`.",
        );
        text
    }

    /// Whether the catalog was as it is before.
    pub fn changed_nothing(&self) -> bool {
        self.files_written == 0
    }

    /// The report as text for a terminal.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for found in &self.instruments {
            for line in &found.assumed {
                let _ = writeln!(text, "{}: {line}", found.instrument.symbol);
            }
        }
        for note in &self.notes {
            let _ = writeln!(text, "note: {note}");
        }
        for (check, found) in &self.checks {
            let verb = match found.action {
                Action::Keep if *check == Check::OutOfOrder => "sorted",
                Action::Keep => "kept",
                Action::Drop if *check == Check::Duplicate => "collapsed",
                Action::Drop => "dropped",
                Action::Reject => "rejected",
            };
            let _ = writeln!(text, "{}: {} rows {verb}", check.name(), found.rows);
            // What is dropped is always shown, the rest by example.
            let shown =
                if found.action == Action::Drop && *check != Check::Duplicate { FIRST_MAX } else { 3 };
            for finding in found.first.iter().take(shown) {
                let _ = writeln!(text, "  {}", finding.text());
            }
            if found.rows > shown.min(found.first.len()) as u64 {
                let _ = writeln!(text, "  and {} more", found.rows - shown.min(found.first.len()) as u64);
            }
        }
        for series in &self.series {
            let Some(gaps) = series.gaps.as_ref().filter(|gaps| gaps.missing > 0) else { continue };
            let percent = gaps.missing as f64 * 100.0 / gaps.expected.max(1) as f64;
            let unit = if series.kind.starts_with("bar") { "bars" } else { "sessions" };
            let _ = write!(
                text,
                "{} {}: {} of {} expected {unit} are missing ({percent:.1} %) in {} gaps",
                series.symbol, series.kind, gaps.missing, gaps.expected, gaps.gaps
            );
            if let Some(gap) = gaps.longest.first() {
                let _ = write!(text, ", the longest {} to {}", gap.from, gap.to);
            }
            if !gaps.covered {
                text.push_str("; the calendar does not know all holidays of that time");
            }
            text.push('\n');
        }
        text
    }

    /// The name of an action, for tables.
    pub fn action_name(action: Action) -> &'static str {
        action.name()
    }
}
