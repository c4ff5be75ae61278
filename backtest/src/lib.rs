//! stub

pub mod dataflow;
pub mod reference;
