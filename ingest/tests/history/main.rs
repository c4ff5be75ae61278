//! History through the real clients, from the local servers into a catalog; and recorded replies through the parsers.

mod alphavantage;
mod binance;
mod market;
mod recorded;
mod resume;
mod yahoo;
