//! What can go wrong with an import. Every error says where it was found, and the catalog is then as it was before.

use std::fmt;

use tradeflow_model::ValueError;

use super::report::Report;
use crate::catalog::CatalogError;

/// A place in a foreign file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file as the user named it.
    pub file: String,
    /// The member of an archive.
    pub member: Option<String>,
    /// The line (of text) or row (of Parquet), from 1; 0 for the file as a whole.
    pub line: u64,
}

impl Place {
    /// The file as a whole.
    pub fn file(file: impl Into<String>) -> Self {
        Self { file: file.into(), member: None, line: 0 }
    }

    /// The same file at another line.
    pub fn at(&self, line: u64) -> Self {
        Self { line, ..self.clone() }
    }

    /// The name that rows of this file carry as their source in the catalog: without folders, so that two machines
    /// write the same.
    pub fn source_name(&self) -> &str {
        self.file.rsplit(['/', '\\']).next().unwrap_or(&self.file)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(member) = &self.member {
            write!(f, " ({member})")?;
        }
        if self.line > 0 {
            write!(f, ", line {}", self.line)?;
        }
        Ok(())
    }
}

/// An import that failed. The catalog is as it was, unless the error came from writing to it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// What was asked for makes no sense or is not complete.
    #[error("{0}")]
    Request(String),
    /// A file can't be read, or is not what the layout says.
    #[error("{place}: {what}")]
    Input {
        /// Where.
        place: Place,
        /// What is wrong and what to do.
        what: String,
    },
    /// Rows failed checks whose action is `reject`.
    #[error("{}", .0.rejection())]
    Rejected(Box<Report>),
    /// The instrument can't be defined so.
    #[error("{0}")]
    Instrument(#[from] ValueError),
    /// The catalog refused or failed.
    #[error("{0}")]
    Catalog(#[from] CatalogError),
    /// The temporary file in which rows wait could not be used.
    #[error("the temporary file of the import: {0} (it lies in the folder that TMPDIR names)")]
    Spool(std::io::Error),
    /// The user stopped the import before anything was written.
    #[error("stopped; nothing was written")]
    Stopped,
}

impl ImportError {
    pub(super) fn input(place: &Place, what: impl Into<String>) -> Self {
        Self::Input { place: place.clone(), what: what.into() }
    }
}
