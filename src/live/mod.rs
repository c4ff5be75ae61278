//! What the subcommands of the live path share: where a node's state is, and how its bus and catalog are opened.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`Place`]: flags that name a node's state; [`Opened`] |
//! | `history.rs` | warm-ups from the catalog |
//! | `archive.rs` | market data that has left the bus, from the recorded catalog |
//! | `sessions.rs` | `tradeflow sessions` |
//! | `verify.rs` | `tradeflow verify` |
//! | `fork.rs` | `tradeflow fork` |

pub mod fork;
mod history;
pub mod sessions;
pub mod verify;

pub use history::CatalogHistory;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use tradeflow_bus::embedded::{EmbeddedBus, Options};
use tradeflow_bus::{Bus, Topics};
use tradeflow_live::SessionRecord;
use tradeflow_live::host::Sources;
use tradeflow_live::node;
use tradeflow_storage::catalog::Catalog;

/// Where a node keeps its state.
#[derive(Debug, Clone, clap::Args)]
pub struct Place {
    /// Folder of the node: bus, journal, catalog
    #[arg(long, value_name = "DIR", default_value = "data")]
    pub data: PathBuf,
    /// Kafka's addresses instead of the log in the folder: host:port,host:port
    #[arg(long, value_name = "BROKERS")]
    pub kafka: Option<String>,
    /// Prefix of the topics' names
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub prefix: String,
}

/// A node's state, open.
pub struct Opened {
    /// Bus, topics, history.
    pub sources: Sources,
    /// The catalog.
    pub catalog: Catalog,
}

impl Place {
    /// The folder of the embedded log.
    pub fn bus_folder(&self) -> PathBuf {
        self.data.join("bus")
    }

    /// The folder of the catalog.
    pub fn catalog_folder(&self) -> PathBuf {
        self.data.join("catalog")
    }

    /// Opens what is there, to look at.
    ///
    /// # Errors
    /// When there is nothing, or a node has it open.
    pub fn open(&self) -> anyhow::Result<Opened> {
        let bus: Arc<dyn Bus> = match &self.kafka {
            Some(brokers) => crate::serve::kafka(brokers, Default::default())?,
            None => {
                let folder = self.bus_folder();
                if !folder.is_dir() {
                    bail!("there is no node's state in {}: start one with `tradeflow serve`", self.data.display());
                }
                Arc::new(EmbeddedBus::open(&folder, Options::default())?)
            }
        };
        let topics = Topics::new(&self.prefix);
        let catalog = open_catalog(&self.catalog_folder())?;
        let sources = sources(bus, topics, &catalog)?;
        Ok(Opened { sources, catalog })
    }
}

/// The catalog of a node, which is made where it is missing.
///
/// # Errors
/// When the folder can't be used.
pub fn open_catalog(folder: &Path) -> anyhow::Result<Catalog> {
    std::fs::create_dir_all(folder).with_context(|| format!("folder {}", folder.display()))?;
    Ok(Catalog::open(&folder.to_string_lossy())?)
}

/// What cells are rebuilt from.
///
/// # Errors
/// When the topics are not there.
pub fn sources(bus: Arc<dyn Bus>, topics: Topics, catalog: &Catalog) -> anyhow::Result<Sources> {
    let partitions = bus.partitions(&topics.journal)?;
    let history = Arc::new(CatalogHistory::new(catalog.clone()));
    Ok(Sources { bus, topics, partitions, history, archive: None })
}

/// A session by its id, by the beginning of it, or `last`.
///
/// # Errors
/// When there is none, or more than one.
pub fn find_session(sources: &Sources, wanted: &str) -> anyhow::Result<SessionRecord> {
    let mut known = node::sessions(sources.bus.as_ref(), &sources.topics)?;
    if wanted == "last" {
        return known.pop().context("there is no session yet: start one with `tradeflow serve`");
    }
    let mut fitting = known.into_iter().filter(|session| session.id.starts_with(wanted));
    let first = fitting.next();
    let first = first.with_context(|| format!("there is no session {wanted}: `tradeflow sessions` lists them"))?;
    if let Some(other) = fitting.next() {
        bail!("{wanted} is the beginning of {} and {}", first.id, other.id);
    }
    Ok(first)
}
