//! Prints the sessions of a calendar as CSV, for `scripts/check_calendars.py` and for looking things up:
//! `cargo run --release -p tradeflow-model --example sessions -- xnys 2024-12-20 2025-01-10`
//!
//! Columns: trade date; open, close, start and end of the pause in nanoseconds UTC (empty for no pause).

#![allow(clippy::disallowed_methods, reason = "a program of its own, told what to print by its arguments")]

use std::io::Write;

use jiff::civil::Date;
use tradeflow_model::calendar::Calendar;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [calendar, first, last] = &arguments[..] else {
        return Err("usage: sessions CALENDAR FIRST-DATE LAST-DATE".into());
    };
    let calendar: Calendar = calendar.parse()?;
    let (first, last): (Date, Date) = (first.parse()?, last.parse()?);
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    writeln!(out, "date,open_ns,close_ns,pause_start_ns,pause_end_ns")?;
    for session in calendar.sessions_on(first, last) {
        let (start, end) = match session.pause {
            Some(pause) => (pause.start.as_nanos().to_string(), pause.end.as_nanos().to_string()),
            None => Default::default(),
        };
        let (open, close) = (session.open.as_nanos(), session.close.as_nanos());
        writeln!(out, "{},{open},{close},{start},{end}", session.date)?;
    }
    out.flush()?;
    Ok(())
}
