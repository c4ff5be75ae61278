//! The real client against the real local server, and each against clients and servers that are not ours.
//!
//! Time-outs are short, and every wait is for a condition, with a deadline.

mod client;
mod frames;
mod kit;
mod rest;
mod server;
