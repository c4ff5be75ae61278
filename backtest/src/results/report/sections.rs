//! Tables of the report: months, accounts, trades.

use std::fmt::Write;

use tradeflow_model::plan::RunPlan;
use tradeflow_model::{Money, Side};

use super::kept::{KeptTrade, KeptTrades};
use super::trace::Trace;
use super::{Escaped, chart, put, sign_class};
use crate::results::format::{NONE, amount, grouped, percent, rounded, time, whole};
use crate::results::summary::Summary;

/// Accounts of the table; the others are in `summary.json`.
const ACCOUNTS_MAX: usize = 200;

/// The growth of each month and year.
pub(super) fn months(out: &mut String, trace: &Trace) {
    let months = trace.months();
    if months.is_empty() {
        return;
    }
    out.push_str(
        "<h2>Monthly returns, %</h2>\n<div class=\"scroll\"><table class=\"months\">\n<tr><th>Year</th>",
    );
    for name in ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec", "Year"] {
        put!(out, "<th>{name}</th>");
    }
    out.push_str("</tr>\n");
    let mut before = trace.start();
    for year in months.chunk_by(|a, b| a.year == b.year) {
        put!(out, "<tr><th>{}</th>", year[0].year);
        let year_before = before;
        for number in 1..=12 {
            match year.iter().find(|month| month.month == number) {
                Some(month) => {
                    growth(out, before, month.equity, 0.15);
                    before = month.equity;
                }
                None => out.push_str("<td></td>"),
            }
        }
        growth(out, year_before, before, 0.6);
        out.push_str("</tr>\n");
    }
    out.push_str("</table></div>\n");
    out.push_str(
        "<p class=\"note\">By UTC months. The first and the last are as long as the run was in them.</p>\n",
    );
}

/// A cell whose colour is full at a growth of `full` either way.
fn growth(out: &mut String, before: f64, after: f64, full: f64) {
    // Of nothing, or of debt, there is no percentage.
    if before <= 0.0 {
        put!(out, "<td>{NONE}</td>");
        return;
    }
    let growth = after / before - 1.0;
    let colour = if growth < 0.0 { "loss" } else { "gain" };
    let strength = (growth.abs() / full).min(1.0) * 0.55;
    put!(
        out,
        "<td style=\"background:rgba(var(--{colour}rgb),{strength:.2})\">{}</td>",
        grouped(growth * 100.0, 1)
    );
}

/// The accounts, where there are several.
pub(super) fn accounts(out: &mut String, summary: &Summary, traces: &[Trace]) {
    let accounts = &summary.accounts;
    if accounts.len() < 2 {
        return;
    }
    let curves = traces.len() == accounts.len();
    put!(
        out,
        "<h2>Accounts</h2>\n<div class=\"scroll\"><table>\n<tr><th class=\"t\">Account</th>{}<th>Final equity</th>\
         <th></th><th>Return</th><th>Max drawdown</th><th>Sharpe</th><th>Trades</th><th>Win rate</th><th>Fees</th></tr>\n",
        if curves { "<th class=\"t\">Equity</th>" } else { "" }
    );
    for (index, account) in accounts.iter().take(ACCOUNTS_MAX).enumerate() {
        put!(out, "<tr><td class=\"t\">{}</td>", Escaped(&account.account));
        if let Some(trace) = traces.get(index).filter(|_| curves) {
            out.push_str("<td>");
            chart::spark(out, trace);
            out.push_str("</td>");
        }
        let currency = Some(account.currency.as_str());
        let or_none = |value: Option<String>| value.unwrap_or_else(|| NONE.into());
        put!(
            out,
            "<td>{}</td><td class=\"t soft\">{}</td><td class=\"{}\">{}</td><td>{}</td><td>{}</td><td>{}</td>\
             <td>{}</td><td>{}</td></tr>\n",
            amount(account.final_equity, currency),
            Escaped(&account.currency),
            sign_class(account.total_return),
            percent(account.total_return),
            percent(account.statistics.max_drawdown),
            or_none(account.statistics.sharpe.map(|v| grouped(v, 2))),
            whole(account.trade_statistics.count),
            or_none(account.trade_statistics.win_rate().map(percent)),
            amount(account.fees, currency),
        );
    }
    out.push_str("</table></div>\n");
    if let Some(more) = accounts.len().checked_sub(ACCOUNTS_MAX).filter(|more| *more > 0) {
        put!(out, "<p class=\"note\">{} more are in summary.json.</p>\n", whole(more as u64));
    }
}

/// The last, the best and the worst trades.
pub(super) fn trades(out: &mut String, plan: &RunPlan, kept: &KeptTrades) {
    let last: Vec<&KeptTrade> = kept.last().collect();
    if last.is_empty() {
        return;
    }
    out.push_str("<h2>Trades</h2>\n");
    let best: Vec<&KeptTrade> = kept.best().iter().collect();
    let worst: Vec<&KeptTrade> = kept.worst().iter().collect();
    list(out, plan, "Last", &last);
    // Amounts of several currencies can't be ranked.
    let currency = plan.cells.first().map(|cell| &cell.account.currency);
    if plan.cells.iter().all(|cell| Some(&cell.account.currency) == currency) {
        list(out, plan, "Best", &best);
        list(out, plan, "Worst", &worst);
    }
    out.push_str(
        "<p class=\"note\">Prices are means over a trade's fills, rounded here. Profits are after fees; the percentage is of the value \
         at entry. All trades are in trades.parquet.</p>\n",
    );
}

fn list(out: &mut String, plan: &RunPlan, name: &str, trades: &[&KeptTrade]) {
    if trades.is_empty() {
        return;
    }
    let accounts = plan.cells.len() > 1;
    let strategies = plan.cells.iter().any(|cell| cell.strategies.len() > 1);
    let symbols = plan.instruments.len() > 1;
    put!(out, "<h3>{name}</h3>\n<div class=\"scroll\"><table>\n<tr>");
    let columns = [(accounts, "Account"), (strategies, "Strategy"), (symbols, "Symbol"), (true, "Side")];
    for (_, column) in columns.iter().filter(|(shown, _)| *shown) {
        put!(out, "<th class=\"t\">{column}</th>");
    }
    out.push_str(
        "<th>Quantity</th><th class=\"t\">Entry</th><th>Price</th><th class=\"t\">Exit</th><th>Price</th><th>Fees</th>\
         <th>Profit</th><th>%</th></tr>\n",
    );
    for trade in trades {
        let (trip, cell) = (&trade.trip, &plan.cells[trade.cell]);
        let definition = plan.instrument(trip.instrument);
        out.push_str("<tr>");
        let mut text = |shown: bool, text: &str| {
            if shown {
                put!(out, "<td class=\"t\">{}</td>", Escaped(text));
            }
        };
        let strategy = trip.strategy.and_then(|index| cell.strategies.get(index.index()));
        text(accounts, cell.account.id.as_str());
        text(strategies, strategy.map_or("by hand", |strategy| &strategy.id));
        text(symbols, definition.symbol.as_str());
        text(true, if trip.side == Side::Buy { "long" } else { "short" });
        let price = |price: Option<tradeflow_model::Price>| {
            price.map_or(NONE.into(), |price| rounded(price.to_decimal(definition.price_scale), 2))
        };
        let currency = Some(cell.account.currency.code());
        let factor = definition.notional_factor().unwrap_or_default();
        let value =
            trip.entry_value.checked_mul(factor).map_or(0.0, |raw| Money::from_raw(raw).to_f64().abs());
        let share = trade.profit.filter(|_| value > 0.0).map(|profit| profit / value);
        put!(
            out,
            "<td>{}</td><td class=\"t\">{}</td><td>{}</td><td class=\"t\">{}</td><td>{}</td><td>{}</td>\
             <td class=\"{}\">{}</td><td>{}</td></tr>\n",
            rounded(trip.entry_qty.to_decimal(definition.size_scale), 0),
            time(trip.entry_time),
            price(trip.entry_price()),
            trip.exit_time.map_or("open".into(), time),
            price(trip.exit_price()),
            amount(trip.fees.to_f64(), currency),
            sign_class(trade.profit.unwrap_or_default()),
            trade.profit.map_or(NONE.into(), |profit| amount(profit, currency)),
            share.map_or(NONE.into(), |share| grouped(share * 100.0, 2)),
        );
    }
    out.push_str("</table></div>\n");
}
