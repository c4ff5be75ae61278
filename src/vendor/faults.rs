//! What goes wrong from the start. `PUT /_control` changes it while a server runs.

use tradeflow_ingest::vendor::Misbehaviour;

/// What goes wrong with requests.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "What goes wrong, from the start")]
pub(super) struct RequestFaults {
    /// Answer the next N requests with the vendor's way of saying "too many".
    #[arg(long, value_name = "N", default_value_t = 0)]
    refuse_next: u64,
    /// Answer the next N requests with the vendor's way of failing.
    #[arg(long, value_name = "N", default_value_t = 0)]
    fail_next: u64,
}

/// What goes wrong with a stream. Messages are counted for each connection.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "What goes wrong, from the start")]
pub(super) struct StreamFaults {
    #[command(flatten)]
    requests: RequestFaults,
    /// Drop the connection, without a close, instead of every Nth message.
    #[arg(long, value_name = "N", value_parser = every())]
    drop_every: Option<u64>,
    /// Send nothing more after N messages, and keep the connection open.
    #[arg(long, value_name = "N")]
    silence_after: Option<u64>,
    /// Send garbage before every Nth message.
    #[arg(long, value_name = "N", value_parser = every())]
    garbage_every: Option<u64>,
    /// Send every Nth message twice.
    #[arg(long, value_name = "N", value_parser = every())]
    duplicate_every: Option<u64>,
    /// Send every Nth message after the one that follows it.
    #[arg(long, value_name = "N", value_parser = every())]
    reorder_every: Option<u64>,
    /// Send every Nth message late, by --late-ms.
    #[arg(long, value_name = "N", value_parser = every(), requires = "late_ms")]
    late_every: Option<u64>,
    /// How late, in milliseconds of the market's time.
    #[arg(long, value_name = "MS", default_value_t = 0, requires = "late_every")]
    late_ms: u64,
}

fn every() -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(1..)
}

impl RequestFaults {
    pub(super) fn misbehaviour(&self) -> Misbehaviour {
        Misbehaviour { refuse_next: self.refuse_next, fail_next: self.fail_next, ..Misbehaviour::default() }
    }
}

impl StreamFaults {
    pub(super) fn misbehaviour(&self) -> Misbehaviour {
        Misbehaviour {
            drop_every: self.drop_every,
            silence_after: self.silence_after,
            garbage_every: self.garbage_every,
            duplicate_every: self.duplicate_every,
            reorder_every: self.reorder_every,
            late_every: self.late_every,
            late_ms: self.late_ms,
            ..self.requests.misbehaviour()
        }
    }
}
