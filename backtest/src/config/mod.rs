//! What the user asked for: from flags or from a TOML file, each setting with where it stands, so that every complaint
//! can name the line or flag.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`RunConfig`] and its parts |
//! | `problem.rs` | [`Problem`]: what is wrong, and where |
//! | `parse.rs` | from text to the values of settings |
//! | `file.rs` | the TOML file |

mod file;
pub mod parse;
mod problem;

pub use file::{fees, from_toml};
pub use problem::{Given, Place, Problem, Problems};

use rust_decimal::Decimal;
use serde_json::Value;
use tradeflow_model::market::PriceType;
use tradeflow_model::plan::{RiskLimits, VenueSpec};
use tradeflow_model::signal::Size;
use tradeflow_model::{AccountId, AccountKind, Currency, Interval, Symbol, Timestamp};

/// Which data of an instrument a run replays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataKind {
    /// Bars of an interval.
    Bars(Interval),
    /// Trades.
    Trades,
    /// Quotes.
    Quotes,
}

/// A run, as the user asked for it.
#[derive(Debug, Clone, PartialEq)]
pub struct RunConfig {
    /// Folder or URL of the catalog.
    pub catalog: String,
    /// Folder under which results go.
    pub out: String,
    /// Symbols, at least one.
    pub symbols: Vec<Given<Symbol>>,
    /// Bars, trades or quotes.
    pub data: Given<DataKind>,
    /// What bars are made of.
    pub price_type: PriceType,
    /// Start of trading; the start of the data where it is not given.
    pub from: Option<Given<Timestamp>>,
    /// End, exclusive; the end of the data where it is not given.
    pub to: Option<Given<Timestamp>>,
    /// The seed of everything random.
    pub seed: u64,
    /// Rows of a batch.
    pub batch_rows: u32,
    /// Batches in flight.
    pub window_batches: u32,
    /// Least time between points of the equity curve; the interval of the bars, or a minute, where it is not given.
    pub equity_interval: Option<Given<Interval>>,
    /// The accounts, at least one.
    pub accounts: Vec<AccountConfig>,
}

impl RunConfig {
    /// Rows of a batch where nobody says.
    pub const BATCH_ROWS: u32 = 16_384;
    /// Batches in flight where nobody says.
    pub const WINDOW_BATCHES: u32 = 4;
    /// Where the catalog is where nobody says.
    pub const CATALOG: &str = "data/catalog";
    /// Where results go where nobody says.
    pub const OUT: &str = "data/results";
}

/// An account with its strategies.
#[derive(Debug, Clone, PartialEq)]
pub struct AccountConfig {
    /// Its name.
    pub id: Given<AccountId>,
    /// Cash or margin.
    pub kind: AccountKind,
    /// Its currency; what the instruments settle in where it is not given.
    pub currency: Option<Given<Currency>>,
    /// Its starting balance.
    pub balance: Decimal,
    /// Its strategies, at least one.
    pub strategies: Vec<StrategyConfig>,
    /// Its limits.
    pub risk: RiskLimits,
    /// How its orders fill.
    pub venue: VenueSpec,
}

/// A strategy.
#[derive(Debug, Clone, PartialEq)]
pub struct StrategyConfig {
    /// Its name in results; the kind where it is not given.
    pub id: Option<String>,
    /// Its kind.
    pub kind: Given<String>,
    /// Its parameters.
    pub params: Vec<(String, Given<Value>)>,
    /// Its symbols; all of the run's where none is given.
    pub symbols: Vec<Given<Symbol>>,
    /// Size of its positions.
    pub size: Size,
}

/// Size of positions where nobody says: all of the equity.
pub const DEFAULT_SIZE: Size = Size::PercentOfEquity(Decimal::ONE_HUNDRED);
/// Starting balance where nobody says.
pub const DEFAULT_BALANCE: Decimal = Decimal::from_parts(100_000, 0, 0, false, 0);
/// The account's name where nobody says.
pub const DEFAULT_ACCOUNT: &str = "main";
/// Cash or margin where nobody says: long or short up to the account's equity.
pub const DEFAULT_ACCOUNT_KIND: AccountKind = AccountKind::Margin { leverage: Decimal::ONE };
