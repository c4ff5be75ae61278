//! The bus on one machine: a durable log on fjall. (To be written.)
