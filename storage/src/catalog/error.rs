//! What can go wrong with a catalog. Every error names the file or series, and what to do where that is not obvious.

use tradeflow_model::{Symbol, Timestamp, ValueError};

/// A catalog operation that failed. Nothing was changed unless the error says so.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogError {
    /// The address of the catalog can't be used.
    #[error("catalog {url:?}: {why}")]
    Address {
        /// The address as given.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// The store refused or failed.
    #[error("{path}: {source}")]
    Store {
        /// Path within the catalog.
        path: String,
        /// What the store says.
        source: object_store::Error,
    },
    /// The lock file of a local catalog could not be taken.
    #[error("the lock of the catalog, {path}: {source}")]
    Lock {
        /// Path of the lock file.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file of the catalog is not what it should be.
    #[error("{path}: {why}")]
    Corrupt {
        /// Path within the catalog.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// A file was replaced since it was listed (for example since a plan was made).
    #[error(
        "{path}: holds other data than expected (digest {found}, expected {expected}); list the files again"
    )]
    Changed {
        /// Path within the catalog.
        path: String,
        /// Digest of what is there now.
        found: String,
        /// Digest that was asked for.
        expected: String,
    },
    /// There is no such instrument.
    #[error("{symbol}: the catalog has no such instrument; add its definition first")]
    NoInstrument {
        /// The symbol.
        symbol: Symbol,
    },
    /// An instrument's scale would change although there is data at the old one.
    #[error(
        "{symbol}: {field} is {old} in the catalog and can't become {new} while there is data ({example}); \
         import with the old scale, or remove the instrument's data first"
    )]
    ScaleChange {
        /// The symbol.
        symbol: Symbol,
        /// `price_scale` or `size_scale`.
        field: &'static str,
        /// The scale in the catalog.
        old: u8,
        /// The scale asked for.
        new: u8,
        /// One of the files at the old scale.
        example: String,
    },
    /// Rows of another kind than the series holds.
    #[error("{series}: the rows to merge are not of this kind")]
    WrongKind {
        /// The series.
        series: String,
    },
    /// Rows to merge that break a rule of the catalog.
    #[error("{series}: row {row} at {time}: {why}")]
    BadRow {
        /// The series.
        series: String,
        /// Index of the row among those given.
        row: usize,
        /// Its time.
        time: Timestamp,
        /// The rule.
        why: String,
    },
    /// A bar that differs from the one in the catalog at the same time.
    #[error(
        "{series}: two different bars at {time}: the catalog has {existing}, the new one is {new}; \
         choose `keep` or `replace` to say which is right"
    )]
    Conflict {
        /// The series.
        series: String,
        /// Open time of both bars.
        time: Timestamp,
        /// The bar in the catalog.
        existing: String,
        /// The bar to merge.
        new: String,
    },
    /// Bars that lie across each other in time.
    #[error("{series}: the bar opening at {time} begins before the one before it ends ({previous_end})")]
    Overlap {
        /// The series.
        series: String,
        /// Open time of the later bar.
        time: Timestamp,
        /// Close time of the earlier bar.
        previous_end: Timestamp,
    },
    /// Another process wrote the same file at the same time.
    #[error("{path}: was changed by another process meanwhile; run the command again")]
    Raced {
        /// Path within the catalog.
        path: String,
    },
    /// A value of an instrument's definition.
    #[error(transparent)]
    Value(#[from] ValueError),
}
