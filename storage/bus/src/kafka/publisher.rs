//! Publishing: one idempotent producer for all threads of the process.

use std::sync::{Arc, PoisonError, RwLock};

use rdkafka::error::RDKafkaErrorCode as Code;

use super::config::KafkaConfig;
use super::context::Context;
use super::delivery::{Producing, Waiting};
use super::message;
use super::topics::Catalog;
use crate::bus::NewRecord;
use crate::error::BusError;
use crate::receipt::{Receipt, Written};

/// Writes records of any thread, and answers when they are delivered.
pub(super) struct Publisher {
    config: KafkaConfig,
    context: Context,
    catalog: Arc<Catalog>,
    /// Replaced when librdkafka declares it broken for good (the brokers have lost what it had written).
    current: RwLock<Arc<Producing>>,
}

impl Publisher {
    pub(super) fn start(
        config: &KafkaConfig,
        context: &Context,
        catalog: &Arc<Catalog>,
    ) -> Result<Self, BusError> {
        let current = Producing::start(&config.producer(), context, Some(Arc::clone(catalog)))?;
        Ok(Self {
            config: config.clone(),
            context: context.clone(),
            catalog: Arc::clone(catalog),
            current: RwLock::new(Arc::new(current)),
        })
    }

    fn current(&self) -> Arc<Producing> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Another producer in the place of a broken one, unless another thread was quicker.
    fn replace(&self, broken: &Arc<Producing>) -> Result<Arc<Producing>, BusError> {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if Arc::ptr_eq(&current, broken) {
            tracing::warn!(target: "kafka", "the producer is broken for good: {}", broken.fatal());
            let catalog = Some(Arc::clone(&self.catalog));
            *current = Arc::new(Producing::start(&self.config.producer(), &self.context, catalog)?);
        }
        Ok(Arc::clone(&current))
    }

    /// See [`crate::Bus::publish`].
    pub(super) fn publish(&self, records: &[NewRecord]) -> Receipt {
        if records.is_empty() {
            return Receipt::ready(Ok(Written::default()));
        }
        if let Some(error) = records.iter().find_map(|record| message::check(record, &self.catalog).err()) {
            return Receipt::ready(Err(error));
        }
        let (sender, receipt) = Receipt::later();
        let waiting = Arc::new(Waiting::new(records, sender));
        let mut producer = self.current();
        for (index, record) in records.iter().enumerate() {
            let mut sent = producer.send(record, &waiting, index);
            if sent == Err(Code::Fatal) {
                match self.replace(&producer) {
                    Ok(fresh) => producer = fresh,
                    Err(error) => {
                        waiting.done(index, Err(error));
                        continue;
                    }
                }
                sent = producer.send(record, &waiting, index);
            }
            if let Err(code) = sent {
                let doing = format!("write to {}/{}", record.topic, record.partition);
                waiting.done(index, Err(self.context.code(&doing, code)));
            }
        }
        receipt
    }
}

impl Drop for Publisher {
    /// What was published is still delivered, within the time-out.
    fn drop(&mut self) {
        self.current().flush(self.config.timeout);
    }
}
