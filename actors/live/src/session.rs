//! What a session is: the plan of accounts and instruments, and its record on the bus.
//!
//! A session begins when a node starts with no session open, and ends when it is stopped. A node that was killed goes on
//! with the session that it finds open. Each account's journal runs on from session to session; an entry names its
//! session.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tradeflow_bus::record::{RecordError, decode, encode};
use tradeflow_bus::{Durability, partition_of};
use tradeflow_model::market::SeriesKind;
use tradeflow_model::plan::{RunPlan, SeriesPlan, StrategyPlan};
use tradeflow_model::{Digest, InstrumentId, SeriesId, Symbol, Timestamp};

use crate::chunk::MarketTopic;

/// What a session trades.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionPlan {
    /// Its name: when it began and the digest of its plan.
    pub id: String,
    /// Instruments, series and cells. Series have no files: their data is on the bus. Cells have no strategies: those
    /// are started, see [`AccountPlan::strategies`].
    pub run: RunPlan,
    /// What belongs to each cell of the run, by its index.
    pub accounts: Vec<AccountPlan>,
    /// What a write to the journal survives before it is acted on.
    pub durability: Durability,
}

/// What an account has beside its cell's plan.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AccountPlan {
    /// The instruments it follows and may trade.
    pub instruments: Vec<InstrumentId>,
    /// The strategies that it starts with.
    pub strategies: Vec<StrategyPlan>,
    /// Where it was opened while a session ran; none for an account of the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened: Option<OpenedAccount>,
    /// When it was closed: it trades no more, and its history stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<Timestamp>,
}

/// Where an account was opened while a session ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenedAccount {
    /// When.
    pub at: Timestamp,
    /// The offset in its partition of the commands from which they may be its own.
    pub commands_from: u64,
}

/// Whether a session is running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SessionState {
    /// It runs, or its node was killed and it waits to go on.
    Open,
    /// It was ended.
    Closed,
}

/// A session, as it stands in the sessions table (key: its id).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// Version of this schema.
    pub v: u16,
    /// The session's id.
    pub id: String,
    /// Whether it runs.
    pub state: SessionState,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    #[serde(default)]
    pub ended: Option<Timestamp>,
    /// Version of the engine.
    pub engine: String,
    /// The [`SessionPlan`], as JSON.
    pub plan: String,
    /// For each account, the offset of the journal at which the session began.
    pub journal_from: BTreeMap<String, u64>,
}

impl SessionRecord {
    /// The version that is written.
    pub const VERSION: u16 = 1;

    /// From its bytes.
    ///
    /// # Errors
    /// When they are no such record.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        decode("sessions", bytes)
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Puts another plan in.
    ///
    /// # Errors
    /// In words, when it can't be written.
    pub(crate) fn set_plan(&mut self, plan: &SessionPlan) -> Result<(), String> {
        self.plan = serde_json::to_string(plan).map_err(|error| error.to_string())?;
        Ok(())
    }

    /// Its plan.
    ///
    /// # Errors
    /// When it is none, as of a newer engine.
    pub fn plan(&self) -> Result<SessionPlan, String> {
        serde_json::from_str(&self.plan).map_err(|error| {
            format!(
                "session {}: its plan can't be read by engine {}: {error}",
                self.id,
                env!("CARGO_PKG_VERSION")
            )
        })
    }
}

impl SessionPlan {
    /// A plan whose id follows from its start and contents.
    ///
    /// # Panics
    /// When there is not one account plan for each cell.
    pub fn new(run: RunPlan, accounts: Vec<AccountPlan>, durability: Durability, started: Timestamp) -> Self {
        assert_eq!(run.cells.len(), accounts.len(), "one account plan for each cell");
        let digest = Digest::of_json(&(&run, &accounts)).to_string();
        let stamp: String =
            started.to_string().chars().filter(|c| c.is_ascii_digit() || *c == 'T').take(15).collect();
        Self { id: format!("{stamp}-{}", &digest[..8]), run, accounts, durability }
    }

    /// What of the plan must be equal for a cell to go on from an earlier state: instruments, series, limits, venue. (Not
    /// the strategies: they start anew with each session.)
    pub fn fingerprint(&self, cell: usize) -> Digest {
        // When the session began makes no other cells.
        let of_any_time = |series: &SeriesPlan| SeriesPlan { start: Timestamp::MIN, ..series.clone() };
        let series = self.run.series.iter().map(of_any_time).collect();
        let cells = vec![self.run.cells[cell].clone()];
        let run = RunPlan {
            from: Timestamp::MIN,
            instruments: self.run.instruments.clone(),
            series,
            cells,
            ..self.run
        };
        Digest::of_json(&(run, &self.accounts[cell].instruments))
    }

    /// The cells that are not closed.
    pub fn open_cells(&self) -> impl Iterator<Item = usize> {
        (0..self.run.cells.len()).filter(|cell| self.accounts[*cell].closed.is_none())
    }

    /// The cell of an account, one that was closed included.
    pub fn cell_of(&self, account: &str) -> Option<usize> {
        self.run.cells.iter().position(|cell| cell.account.id.as_str() == account)
    }

    /// The cell of an account that is not closed.
    pub fn open_cell_of(&self, account: &str) -> Option<usize> {
        self.cell_of(account).filter(|cell| self.accounts[*cell].closed.is_none())
    }

    /// The journal partition of the account of a cell.
    pub fn journal_partition(&self, cell: usize, partitions: u32) -> u32 {
        partition_of(self.run.cells[cell].account.id.as_str().as_bytes(), partitions)
    }

    /// The open cells whose accounts lie in a partition of the journal.
    pub fn cells_in(&self, partition: u32, partitions: u32) -> Vec<usize> {
        let cells = self.open_cells();
        cells.filter(|cell| self.journal_partition(*cell, partitions) == partition).collect()
    }

    /// The instrument with this symbol.
    pub fn instrument(&self, symbol: &str) -> Option<InstrumentId> {
        let index = self.run.instruments.iter().position(|i| i.symbol.as_str() == symbol)?;
        Some(InstrumentId(index as u32))
    }

    /// The series of an instrument of this kind.
    pub fn series_of(&self, instrument: InstrumentId, kind: SeriesKind) -> Option<SeriesId> {
        let index = self
            .run
            .series
            .iter()
            .position(|series| series.instrument == instrument && series.kind == kind)?;
        Some(SeriesId(index as u16))
    }

    /// The symbol of an instrument.
    pub fn symbol(&self, instrument: InstrumentId) -> &Symbol {
        &self.run.instruments[instrument.index()].symbol
    }

    /// The market topics and partitions in which a cell's data lies.
    pub fn feeds_of(&self, cell: usize, partitions: u32) -> Vec<(MarketTopic, u32)> {
        let follows = &self.accounts[cell].instruments;
        let mut feeds: Vec<_> = self
            .run
            .series
            .iter()
            .filter(|series| follows.contains(&series.instrument))
            .filter_map(|series| {
                let key = self.symbol(series.instrument).as_str().as_bytes();
                Some((MarketTopic::of(series.kind)?, partition_of(key, partitions)))
            })
            .collect();
        feeds.sort_unstable();
        feeds.dedup();
        feeds
    }
}
