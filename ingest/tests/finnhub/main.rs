//! The real Finnhub client against the local server that speaks Finnhub's protocol, and against servers that do what
//! only a broken one does.

mod broken;
mod calls;
mod faults;
mod quotes;
mod secrets;
mod stream;
mod subscriptions;
mod support;
