//! The drivers against each other: the synchronous reference, threads, and real processes over TCP.

mod processes;
mod synthetic;
mod threads;
