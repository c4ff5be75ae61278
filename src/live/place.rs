//! Where a node's state is, and how its bus and catalog are opened.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use tradeflow_backtest::config::Problems;
use tradeflow_bus::embedded::{EmbeddedBus, Options};
use tradeflow_bus::kafka::{KafkaBus, KafkaConfig};
use tradeflow_bus::{Bus, Topics};
use tradeflow_ingest::record::Recorded;
use tradeflow_live::host::Sources;
use tradeflow_live::node;
use tradeflow_storage::catalog::Catalog;

use super::archive::RecordedArchive;
use super::history::CatalogHistory;
use crate::serve::config::{Flag, ServeConfig};

/// Flags that say where a node keeps its state. They go before the environment, and that before the file.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Place {
    /// Folder of the node: bus, journal, catalog [default: data]
    #[arg(long, value_name = "DIR")]
    pub data: Option<String>,
    /// Kafka's addresses (host:port,host:port) instead of the log in the folder
    #[arg(long, value_name = "BROKERS")]
    pub kafka: Option<String>,
    /// Prefix of the topics' names
    #[arg(long, value_name = "TEXT")]
    pub prefix: Option<String>,
}

/// The same, for commands that read what a node of some configuration left.
#[derive(Debug, Clone, clap::Args)]
pub struct StoredPlace {
    #[command(flatten)]
    place: Place,
    /// The node's configuration file; the flags and the environment go before it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// A node's state, open.
pub struct Opened {
    /// Bus, topics, history.
    pub sources: Sources,
    /// The configuration that it was found by.
    pub config: ServeConfig,
}

impl Place {
    /// As flags of a configuration.
    pub fn flags(&self) -> Vec<Flag<'_>> {
        let given = [
            ("--data", ["node", "data"], &self.data),
            ("--kafka", ["bus", "kafka"], &self.kafka),
            ("--prefix", ["bus", "prefix"], &self.prefix),
        ];
        given.into_iter().filter_map(|(name, keys, value)| Some((name, keys, value.as_deref()?))).collect()
    }
}

impl StoredPlace {
    /// The configuration that the flags, the environment and the file give.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn config(&self) -> Result<ServeConfig, Problems> {
        ServeConfig::load(self.config.as_deref(), &self.place.flags())
    }

    /// Opens what is there, to look at.
    ///
    /// # Errors
    /// When there is nothing, or a node has it open.
    pub fn open(&self) -> anyhow::Result<Opened> {
        let config = self.config()?;
        if let Some(folder) = config.log_folder().filter(|folder| !folder.is_dir()) {
            bail!("there is no node's log in {}: start one with `tradeflow serve`", folder.display());
        }
        let bus = open_bus(&config)?;
        let topics = Topics::new(&config.bus.prefix);
        let catalog = open_catalog(&config)?;
        let sources = sources(bus, topics, &catalog)?;
        Ok(Opened { sources, config })
    }
}

/// The bus that a configuration names.
///
/// # Errors
/// When the folder can't be opened (another node has it), or no broker answers.
pub fn open_bus(config: &ServeConfig) -> anyhow::Result<Arc<dyn Bus>> {
    match &config.bus.kafka {
        Some(brokers) => {
            let settings = config.bus.settings.iter();
            let settings = settings.map(|(name, value)| (name.clone(), value.text().to_owned())).collect();
            let kafka = KafkaConfig { settings, ..KafkaConfig::new(brokers) };
            Ok(Arc::new(KafkaBus::connect(kafka)?))
        }
        None => {
            let folder = config.data_folder().join("bus");
            std::fs::create_dir_all(&folder).with_context(|| format!("folder {}", folder.display()))?;
            Ok(Arc::new(EmbeddedBus::open(&folder, Options::default())?))
        }
    }
}

/// The catalog that a configuration names; a folder is made where it is missing.
///
/// # Errors
/// When it can't be used.
pub fn open_catalog(config: &ServeConfig) -> anyhow::Result<Catalog> {
    let place = config.catalog();
    if !place.contains("://") {
        std::fs::create_dir_all(&place).with_context(|| format!("folder {place}"))?;
    }
    Ok(Catalog::open(&place)?)
}

/// What cells are rebuilt from. Market data that has left the bus comes from what was recorded of it.
///
/// # Errors
/// When the topics are not there, or the sessions can't be read.
pub fn sources(bus: Arc<dyn Bus>, topics: Topics, catalog: &Catalog) -> anyhow::Result<Sources> {
    let partitions = bus.partitions(&topics.journal)?;
    let history = Arc::new(CatalogHistory::new(catalog.clone()));
    let archive = origin(bus.as_ref(), &topics)?.map(|origin| {
        let archive = RecordedArchive(Recorded::new(catalog.clone(), &origin));
        Arc::new(archive) as Arc<dyn tradeflow_live::journal::Archive>
    });
    Ok(Sources { bus, topics, partitions, history, archive })
}

/// What the recorder calls a bus: its first session names it, so a log that was deleted and begun anew is another.
///
/// # Errors
/// When the sessions can't be read.
pub fn origin(bus: &dyn Bus, topics: &Topics) -> anyhow::Result<Option<String>> {
    Ok(node::sessions(bus, topics)?.into_iter().next().map(|first| first.id))
}
