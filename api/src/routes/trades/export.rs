//! Trades as a file.

use actix_web::{HttpResponse, get};
use serde::Deserialize;
use tradeflow_backtest::results::table::{Cell, Kind, Table};
use tradeflow_state::trading::Trade;

use super::super::listing::filter;
use crate::auth::{As, Viewer};
use crate::body::Query;
use crate::context::Context;
use crate::problem::Problem;

/// The kind of file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    #[default]
    Csv,
    Parquet,
}

filter! {
    /// Which trades, and how.
    Exported {
        /// With this tag.
        tag: Option<String>,
        /// `csv` (the default) or `parquet`.
        #[param(value_type = Option<String>)]
        format: Option<Format>,
    }
}

/// Trades as CSV or Parquet
///
/// All that fit the filter, the first ended first. Amounts in Parquet have eight decimals,
/// those in CSV all of theirs.
#[utoipa::path(tag = "trades", params(Exported), security(("bearer" = ["viewer"])),
    responses((status = 200, description = "The file",
        content((String = "text/csv"), (Vec<u8> = "application/vnd.apache.parquet")))))]
#[get("/trades/export")]
pub(crate) async fn get(
    shared: Context,
    caller: As<Viewer>,
    which: Query<Exported>,
) -> Result<HttpResponse, Problem> {
    let scope = which.0.scope();
    let accounts = scope.accounts(&shared, &caller).await?;
    let mut trades = super::all(&shared, scope, &accounts, which.0.tag.as_deref()).await?;
    trades.reverse();
    let format = which.0.format.unwrap_or_default();
    let written = actix_web::web::block(move || match format {
        Format::Csv => csv_of(&trades),
        Format::Parquet => parquet_of(&trades),
    });
    let bytes = written.await.map_err(|_| Problem::unavailable("the server is stopping"))?;
    let bytes = bytes.map_err(|why| {
        tracing::error!(why, "an export of trades");
        Problem::internal()
    })?;
    let (kind, name) = match format {
        Format::Csv => ("text/csv; charset=utf-8", "trades.csv"),
        Format::Parquet => ("application/vnd.apache.parquet", "trades.parquet"),
    };
    let named = format!("attachment; filename=\"{name}\"");
    Ok(HttpResponse::Ok().content_type(kind).insert_header(("content-disposition", named)).body(bytes))
}

const COLUMNS: [&str; 17] = [
    "account",
    "trade_id",
    "session",
    "symbol",
    "strategy",
    "side",
    "quantity",
    "entry_time",
    "exit_time",
    "entry_price",
    "exit_price",
    "pnl",
    "fees",
    "dividends",
    "pnl_net",
    "tags",
    "note",
];

fn csv_of(trades: &[Trade]) -> Result<Vec<u8>, String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let failed = |error: csv::Error| error.to_string();
    writer.write_record(COLUMNS).map_err(failed)?;
    for Trade { row, tags, note } in trades {
        let at = |nanos| super::time(tradeflow_model::Timestamp::from_nanos(nanos));
        writer
            .write_record([
                &row.account,
                &row.seq.to_string(),
                &row.session,
                &row.symbol,
                row.strategy.as_deref().unwrap_or_default(),
                &row.side,
                &row.qty,
                &at(row.entry_time),
                &at(row.exit_time),
                &row.entry_price,
                &row.exit_price,
                &row.pnl,
                &row.fees,
                &row.dividends,
                &row.pnl_net,
                &plain(&tags.join("; ")),
                &plain(note),
            ])
            .map_err(failed)?;
    }
    writer.into_inner().map_err(|error| error.to_string())
}

/// A text that a spreadsheet does not take for a formula.
pub(crate) fn plain(text: &str) -> String {
    match text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        true => format!("'{text}"),
        false => text.to_owned(),
    }
}

/// Decimals of prices, quantities and amounts in Parquet.
const SCALE: u8 = 8;

fn parquet_of(trades: &[Trade]) -> Result<Vec<u8>, String> {
    let folder = tempfile::tempdir().map_err(|error| format!("a folder for the file: {error}"))?;
    let kinds = COLUMNS.map(|name| match name {
        "trade_id" => (name, Kind::Integer),
        "entry_time" | "exit_time" => (name, Kind::Time),
        "quantity" | "entry_price" | "exit_price" | "pnl" | "fees" | "dividends" | "pnl_net" => {
            (name, Kind::Decimal(SCALE))
        }
        "strategy" => ("strategy?", Kind::Word),
        _ => (name, Kind::Word),
    });
    let mut table = Table::create(folder.path(), "trades", &kinds)?;
    let amount = |text: &str| {
        let number: rust_decimal::Decimal = text.parse().map_err(|error| format!("{text:?}: {error}"))?;
        let scaled = number.checked_mul(10_i64.pow(u32::from(SCALE)).into());
        let rounded = scaled.and_then(|scaled| i64::try_from(scaled.round()).ok());
        rounded.map(Cell::Integer).ok_or_else(|| format!("{text} does not fit 18 digits"))
    };
    for Trade { row, tags, note } in trades {
        let tags = tags.join("; ");
        table.row(&[
            Cell::Text(&row.account),
            Cell::Integer(row.seq),
            Cell::Text(&row.session),
            Cell::Text(&row.symbol),
            row.strategy.as_deref().map_or(Cell::None, Cell::Text),
            Cell::Text(&row.side),
            amount(&row.qty)?,
            Cell::Integer(row.entry_time),
            Cell::Integer(row.exit_time),
            amount(&row.entry_price)?,
            amount(&row.exit_price)?,
            amount(&row.pnl)?,
            amount(&row.fees)?,
            amount(&row.dividends)?,
            amount(&row.pnl_net)?,
            Cell::Text(&tags),
            Cell::Text(note),
        ])?;
    }
    table.finish()?;
    let path = folder.path().join("trades.parquet");
    std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))
}
