//! The errors of `yfinance-rs` as ours. Its texts hold no cookies or crumbs.

use yfinance_rs::YfError;

use crate::history::HistoryError;

/// The error of a request for `symbol`.
pub(super) fn of(error: &YfError, symbol: &str) -> HistoryError {
    let text = format!("yahoo, {symbol}: {error}");
    match error {
        YfError::NotFound { .. } => unknown(symbol),
        YfError::RateLimited { .. } => HistoryError::RateLimited {
            what: format!("{text}; yahoo turns programs away at times: try later, or use another vendor"),
            wait: None,
        },
        YfError::ServerError { .. } => HistoryError::Server(text),
        // The crate reads no body of such an answer. Yahoo gives it for times that it does not keep.
        YfError::Status { status: 422, .. } => HistoryError::Reach(format!(
            "yahoo, {symbol}: does not keep bars of that length that far back, or not so many at once ({error})"
        )),
        YfError::Status { .. } => HistoryError::Refused(text),
        YfError::Api(said) if said.contains("No data found") || said.contains("Not Found") => unknown(symbol),
        YfError::Api(said) if said.contains("data not available") || said.contains("Data doesn't exist") => {
            HistoryError::Reach(text)
        }
        YfError::Api(_) => HistoryError::Refused(text),
        YfError::Auth(_) => HistoryError::Refused(format!(
            "{text}; yahoo gave no cookie or crumb, as it does where it asks for consent first or throttles: try later"
        )),
        YfError::Http(_) => HistoryError::Network(text),
        // A page instead of JSON: "Will be right back", a consent page, a proxy.
        YfError::Json(_) => HistoryError::Server(format!("{text}; the answer is no JSON")),
        YfError::InvalidDates | YfError::InvalidParams(_) => HistoryError::Unsupported(text),
        _ => HistoryError::Malformed(text),
    }
}

fn unknown(symbol: &str) -> HistoryError {
    HistoryError::Symbol(format!(
        "yahoo: does not know {symbol:?}, or has no data of it; its symbols look like AAPL, BRK-B, EURUSD=X, BTC-USD"
    ))
}
