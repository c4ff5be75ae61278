//! The bus on Apache Kafka. (To be written.)
