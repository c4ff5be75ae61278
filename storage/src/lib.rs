//! Data at rest: the catalog of market data, import of foreign files, aggregation, and generated sample data.
//!
//! | module | holds |
//! |---|---|
//! | [`catalog`] | market data as Parquet files on a local folder or an object store |
//! | [`import`] | foreign files (CSV, zipped ticks, Parquet) into the catalog, with validation |
//! | [`aggregate`] | trades, quotes and finer bars into bars |
//! | [`sample`] | realistic data from a seed, so that anyone can run everything without a download |

pub mod aggregate;
pub mod catalog;
pub mod import;
pub mod sample;
