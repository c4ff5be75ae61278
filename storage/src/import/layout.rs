//! A layout says how the rows of a foreign file are to be read. A preset is a layout with a name.

use std::str::FromStr;

use tradeflow_model::market::PriceType;
use tradeflow_model::{AssetClass, Interval, MAX_SCALE};

use super::clock::{TimeFormat, Zone};

/// What a row holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RowKind {
    /// A bar.
    Bar,
    /// A bar of the bid and a bar of the ask.
    QuoteBar,
    /// A trade.
    Trade,
    /// A quote: best bid and ask. A side that is left empty is as before.
    Quote,
    /// The best bid or ask, the other side 0: two rows of one time are a quote.
    SideQuote,
    /// Cumulative factors of adjustment, from which splits and dividends are derived.
    Factors,
}

impl FromStr for RowKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "bar" => Ok(Self::Bar),
            "trade" => Ok(Self::Trade),
            "quote" => Ok(Self::Quote),
            "action" => Ok(Self::Factors),
            _ => Err(format!("{text:?} is not one of bar, trade, quote, action")),
        }
    }
}

/// A value of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[allow(missing_docs)] // the names are those of `--columns`
pub enum Field {
    Date,
    Time,
    Open,
    High,
    Low,
    Close,
    Volume,
    Price,
    Qty,
    Side,
    Bid,
    Ask,
    BidSize,
    AskSize,
    BidOpen,
    BidHigh,
    BidLow,
    BidClose,
    AskOpen,
    AskHigh,
    AskLow,
    AskClose,
    PriceFactor,
    SplitFactor,
    Reference,
}

impl Field {
    /// How many fields there are.
    pub const COUNT: usize = Self::Reference as usize + 1;

    /// All fields.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Date,
        Self::Time,
        Self::Open,
        Self::High,
        Self::Low,
        Self::Close,
        Self::Volume,
        Self::Price,
        Self::Qty,
        Self::Side,
        Self::Bid,
        Self::Ask,
        Self::BidSize,
        Self::AskSize,
        Self::BidOpen,
        Self::BidHigh,
        Self::BidLow,
        Self::BidClose,
        Self::AskOpen,
        Self::AskHigh,
        Self::AskLow,
        Self::AskClose,
        Self::PriceFactor,
        Self::SplitFactor,
        Self::Reference,
    ];

    /// The name in `--columns` and in errors.
    pub fn name(self) -> &'static str {
        match self {
            Self::Date => "date",
            Self::Time => "time",
            Self::Open => "open",
            Self::High => "high",
            Self::Low => "low",
            Self::Close => "close",
            Self::Volume => "volume",
            Self::Price => "price",
            Self::Qty => "qty",
            Self::Side => "side",
            Self::Bid => "bid",
            Self::Ask => "ask",
            Self::BidSize => "bid_size",
            Self::AskSize => "ask_size",
            Self::BidOpen => "bid_open",
            Self::BidHigh => "bid_high",
            Self::BidLow => "bid_low",
            Self::BidClose => "bid_close",
            Self::AskOpen => "ask_open",
            Self::AskHigh => "ask_high",
            Self::AskLow => "ask_low",
            Self::AskClose => "ask_close",
            Self::PriceFactor => "price_factor",
            Self::SplitFactor => "split_factor",
            Self::Reference => "reference",
        }
    }

    /// Names under which headers know the field, in lower case without `<>` and blanks.
    pub fn aliases(self) -> &'static [&'static str] {
        match self {
            Self::Date => &["date", "day"],
            Self::Time => &[
                "time",
                "timestamp",
                "datetime",
                "date",
                "ts",
                "ts_ms",
                "open_time",
                "opentime",
                "open time",
                "gmt time",
                "utc time",
                "local time",
                "etc/utc",
                "time (utc)",
                "time (est)",
                "unix",
                "mts",
                "ts_event",
                "",
            ],
            Self::Open => &["open", "o"],
            Self::High => &["high", "h"],
            Self::Low => &["low", "l"],
            Self::Close => &["close", "c"],
            Self::Volume => &["volume", "tickvol", "tick_volume", "vol", "v"],
            Self::Price => &["price", "last", "p"],
            Self::Qty => &["qty", "size", "quantity", "amount", "volume"],
            Self::Side => &["side", "aggressor"],
            Self::Bid => &["bid", "bid_price", "bidprice"],
            Self::Ask => &["ask", "ask_price", "askprice"],
            Self::BidSize => &["bid_size", "bidsize", "bid_volume", "bidvolume", "bid_qty"],
            Self::AskSize => &["ask_size", "asksize", "ask_volume", "askvolume", "ask_qty"],
            Self::BidOpen => &["bid_open"],
            Self::BidHigh => &["bid_high"],
            Self::BidLow => &["bid_low"],
            Self::BidClose => &["bid_close"],
            Self::AskOpen => &["ask_open"],
            Self::AskHigh => &["ask_high"],
            Self::AskLow => &["ask_low"],
            Self::AskClose => &["ask_close"],
            Self::PriceFactor => &["price_factor"],
            Self::SplitFactor => &["split_factor"],
            Self::Reference => &["reference_price", "reference"],
        }
    }
}

impl RowKind {
    /// Fields without which there is no row.
    pub fn required(self) -> &'static [Field] {
        use Field::{
            Ask, AskClose, AskHigh, AskLow, AskOpen, AskSize, Bid, BidClose, BidHigh, BidLow, BidOpen,
            BidSize, Close, High, Low, Open, Price, PriceFactor, Qty, Reference, SplitFactor, Time,
        };
        match self {
            Self::Bar => &[Time, Open, High, Low, Close],
            Self::QuoteBar => &[Time, BidOpen, BidHigh, BidLow, BidClose, AskOpen, AskHigh, AskLow, AskClose],
            Self::Trade => &[Time, Price, Qty],
            Self::Quote => &[Time, Bid, Ask],
            Self::SideQuote => &[Time, Bid, BidSize, Ask, AskSize],
            Self::Factors => &[Time, PriceFactor, SplitFactor, Reference],
        }
    }

    /// Fields that are read where they are there.
    pub fn optional(self) -> &'static [Field] {
        match self {
            Self::Bar => &[Field::Volume],
            Self::QuoteBar | Self::Quote => &[Field::BidSize, Field::AskSize],
            Self::Trade => &[Field::Side],
            Self::SideQuote | Self::Factors => &[],
        }
    }
}

/// Where a field stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Column {
    /// Under this name in the header.
    Named(String),
    /// At this position, from 0.
    At(usize),
}

/// Whether the first row names the columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Header {
    /// It does when none of its fields is a number.
    #[default]
    Auto,
    /// It does not.
    Absent,
}

/// Which end of a bar its time is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StampAt {
    /// The first instant of the bar.
    #[default]
    Start,
    /// The first instant after the bar.
    End,
}

impl FromStr for StampAt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "start" => Ok(Self::Start),
            "end" => Ok(Self::End),
            _ => Err(format!("{text:?} is neither start nor end")),
        }
    }
}

/// How the rows of a file are to be read.
#[derive(Debug, Clone, PartialEq)]
pub struct Layout {
    /// What a row holds.
    pub kind: RowKind,
    /// Positions of the fields in a file without a header.
    pub positions: Vec<(Field, usize)>,
    /// Columns that the user named; they go before `positions` and the usual names.
    pub columns: Vec<(Field, Column)>,
    /// Whether there is a header.
    pub header: Header,
    /// Between fields; `None` to see which of `, ; tab |` the first line holds.
    pub delimiter: Option<u8>,
    /// How times are written.
    pub time: TimeFormat,
    /// Zone of times that do not name theirs.
    pub zone: Zone,
    /// Which end of a bar its time is.
    pub stamp: StampAt,
    /// Decimal places by which the point of prices is to be moved left: 4 for prices × 10000.
    pub price_shift: u8,
    /// Decimals to which prices are rounded, half to even; `None` to refuse what can't be kept exactly.
    pub round: Option<u8>,
    /// Decimals to which sizes are rounded; 9, the most that can be kept, unless the user says otherwise.
    pub round_sizes: u8,
    /// What bars are made of.
    pub price_type: PriceType,
    /// Length of bars; `None` where the user must say.
    pub interval: Option<Interval>,
    /// The class of the instruments that come in this layout, where it tells.
    pub class: Option<AssetClass>,
    /// Whether a zip member named `…_<root>_minute_trade_<yyyymm>.csv` is the contract `ROOT-yyyymm`.
    pub contracts: bool,
}

impl Layout {
    /// A layout with a header of usual names, ISO or epoch times in UTC at the start of bars, and exact prices.
    pub fn new(kind: RowKind) -> Self {
        Self {
            kind,
            positions: Vec::new(),
            columns: Vec::new(),
            header: Header::Auto,
            delimiter: None,
            time: TimeFormat::SecondsOrYearFirst,
            zone: Zone::UTC,
            stamp: StampAt::Start,
            price_shift: 0,
            round: None,
            round_sizes: MAX_SCALE,
            price_type: PriceType::Last,
            interval: None,
            class: None,
            contracts: false,
        }
    }

    /// The same with these fields at the positions 0, 1, 2 …; `None` skips one.
    #[must_use]
    pub fn in_order(mut self, fields: &[Option<Field>]) -> Self {
        self.positions =
            fields.iter().enumerate().filter_map(|(at, field)| field.map(|field| (field, at))).collect();
        self
    }
}

/// A layout with a name.
pub struct Preset {
    /// The name on the command line.
    pub name: &'static str,
    /// What the files are and where they come from.
    pub about: &'static str,
    /// Some lines as they stand in such a file.
    pub sample: &'static str,
    /// The layout.
    pub layout: fn() -> Layout,
}
