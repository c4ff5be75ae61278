//! The Parquet schemas of the catalog's files, and the check that a file has the one it should.

use parquet::basic::LogicalType;
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::{SchemaDescriptor, TypePtr};
use std::sync::Arc;
use tradeflow_model::Instrument;
use tradeflow_model::market::SeriesKind;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    /// Nanoseconds UTC.
    Time,
    /// A price at the instrument's price scale.
    Price,
    /// A quantity at the instrument's size scale.
    Size,
    /// One of a few words.
    Word,
    /// A whole number.
    Count,
    /// An amount of money at 18 decimals.
    Money,
}

/// The columns of a kind of series, in the order in which they stand in its files; empty for kinds not stored.
pub(crate) fn fields(kind: SeriesKind) -> &'static [(&'static str, Field)] {
    use Field::{Count, Money, Price, Size, Time, Word};
    match kind {
        SeriesKind::Bars { .. } => &[
            ("ts_open", Time),
            ("ts_event", Time),
            ("ts_init", Time),
            ("open", Price),
            ("high", Price),
            ("low", Price),
            ("close", Price),
            ("volume", Size),
        ],
        SeriesKind::Trades => {
            &[("ts_event", Time), ("ts_init", Time), ("price", Price), ("qty", Size), ("aggressor", Word)]
        }
        SeriesKind::Quotes => &[
            ("ts_event", Time),
            ("ts_init", Time),
            ("bid", Price),
            ("ask", Price),
            ("bid_size", Size),
            ("ask_size", Size),
        ],
        SeriesKind::Actions => &[
            ("ts_event", Time),
            ("ts_init", Time),
            ("action", Word),
            ("new_shares", Count),
            ("old_shares", Count),
            ("amount", Money),
        ],
        SeriesKind::SessionOpens | SeriesKind::SessionCloses => &[],
    }
}

/// The scales at which a file's prices and quantities are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scales {
    pub(crate) price: u8,
    pub(crate) size: u8,
}

impl Scales {
    pub(crate) fn of(instrument: &Instrument) -> Self {
        Self { price: instrument.price_scale, size: instrument.size_scale }
    }
}

/// The schema of a kind's files. All columns are required: there is no null in market data.
pub(crate) fn message_type(kind: SeriesKind, scales: Scales) -> TypePtr {
    let columns: String = fields(kind)
        .iter()
        .map(|(name, field)| match field {
            Field::Time => format!("required int64 {name} (timestamp(nanos,true));"),
            Field::Price => format!("required int64 {name} (decimal(18,{}));", scales.price),
            Field::Size => format!("required int64 {name} (decimal(18,{}));", scales.size),
            Field::Word => format!("required binary {name} (string);"),
            Field::Count => format!("required int64 {name} (integer(64,true));"),
            Field::Money => format!("required fixed_len_byte_array(16) {name} (decimal(38,18));"),
        })
        .collect();
    let text = format!("message rows {{ {columns} }}");
    Arc::new(parse_message_type(&text).expect("the schema is well formed for every scale up to 9"))
}

/// Checks that a file has the columns it should, at the right scales.
pub(crate) fn check(found: &SchemaDescriptor, kind: SeriesKind, scales: Scales) -> Result<(), String> {
    let expected = SchemaDescriptor::new(message_type(kind, scales));
    if found.num_columns() != expected.num_columns() {
        return Err(format!("has {} columns instead of {}", found.num_columns(), expected.num_columns()));
    }
    for (found, expected) in found.columns().iter().zip(expected.columns()) {
        let name = expected.name();
        if found.name() != name || found.path().parts().len() != 1 {
            return Err(format!("has the column {:?} in the place of {name:?}", found.path().string()));
        }
        if found.max_def_level() != 0 || found.max_rep_level() != 0 {
            return Err(format!("column {name} may be null or repeated, and should not"));
        }
        if found.physical_type() != expected.physical_type() || found.type_length() != expected.type_length()
        {
            let (found, expected) = (found.physical_type(), expected.physical_type());
            return Err(format!("column {name} is stored as {found}, not as {expected}"));
        }
        let (found, expected) = (found.logical_type_ref(), expected.logical_type_ref());
        if found != expected {
            return Err(match (found.map(decimal_scale), expected.map(decimal_scale)) {
                (Some(Some(found)), Some(Some(expected))) => {
                    format!("column {name} has {found} decimals, but the instrument has {expected}")
                }
                _ => format!("column {name} holds {found:?}, not {expected:?}"),
            });
        }
    }
    Ok(())
}

fn decimal_scale(logical: &LogicalType) -> Option<i32> {
    match logical {
        LogicalType::Decimal(decimal) => Some(decimal.scale),
        _ => None,
    }
}
