//! Bars from trades, quotes and finer bars.
