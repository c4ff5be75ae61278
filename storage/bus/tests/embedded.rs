//! The conformance suite on the embedded log.

mod conformance;

use std::sync::Arc;
use std::time::Duration;

use conformance::{Abilities, Fixture};
use tradeflow_bus::Bus;
use tradeflow_bus::embedded::{EmbeddedBus, Options};

struct Embedded {
    folder: tempfile::TempDir,
    bus: Option<Arc<EmbeddedBus>>,
}

impl Embedded {
    fn new() -> Self {
        let mut fixture = Self { folder: tempfile::tempdir().expect("a temporary folder"), bus: None };
        fixture.reopen();
        fixture
    }

    fn options() -> Options {
        Options {
            segment_bytes: 100_000,
            tail_bytes: 50_000,
            read_ahead_bytes: 20_000,
            maintenance_every: Duration::from_millis(10),
            disk_reserve_bytes: 0,
            // So small that records are on their way to the tables all the time.
            memory_bytes: 20_000,
            ..Options::default()
        }
    }
}

impl Fixture for Embedded {
    fn bus(&self) -> Arc<dyn Bus> {
        self.bus.clone().expect("it is open")
    }

    fn reopen(&mut self) {
        if let Some(bus) = self.bus.take() {
            assert_eq!(Arc::strong_count(&bus), 1, "the test holds the bus over a restart");
        }
        self.bus = Some(Arc::new(EmbeddedBus::open(self.folder.path(), Self::options()).expect("it opens")));
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            contiguous: true,
            atomic_publish: true,
            several_members: false,
            too_large: Options::default().record_bytes_max + 1,
            retention_slack: 200_000,
            retention_unit: 200_000,
            read_ahead_bytes: Self::options().read_ahead_bytes,
            cases: 32,
            patience: Duration::from_secs(120),
        }
    }

    fn prefix(&self) -> String {
        "test.".to_owned()
    }
}

conformance!(Embedded::new());
