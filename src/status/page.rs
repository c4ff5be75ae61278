//! A status as lines of text, with colours where the output has them.

use std::time::Duration;

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use rust_decimal::Decimal;
use tradeflow_actors::risk::TradingMode;
use tradeflow_api::HealthState;
use tradeflow_api::status::{FeedLine, QuoteLine, Status};
use tradeflow_live::node::{CellView, StrategyView};

const GOOD: Style = Style::new().fg(Color::Green);
const DOUBTFUL: Style = Style::new().fg(Color::Yellow);
const BAD: Style = Style::new().fg(Color::Red);
const QUIET: Style = Style::new().fg(Color::DarkGray);
const HEADING: Style = Style::new().add_modifier(Modifier::BOLD);
const USUAL: Style = Style::new();

/// An earlier status, and how long ago it was asked for: for rates.
pub type Before<'a> = Option<(&'a Status, Duration)>;

/// The whole page; sentences are wrapped at `width`, and tables leave out what matters least where they are wider.
pub fn lines(status: &Status, before: Before<'_>, width: usize) -> Vec<Line<'static>> {
    let mut lines = head(status, width);
    lines.extend(feeds(status, before, width));
    lines.extend(quotes(status, width));
    lines.extend(accounts(status, width));
    lines.extend(positions(status, width));
    lines.extend(strategies(status, width));
    lines.extend(tail(status));
    lines
}

fn head(status: &Status, width: usize) -> Vec<Line<'static>> {
    let state = match status.health.status {
        HealthState::Ok => Span::styled("ok", GOOD),
        HealthState::Degraded => Span::styled("degraded", DOUBTFUL),
        HealthState::Down => Span::styled("down", BAD),
    };
    let time = status.time.get(..19).unwrap_or(&status.time).replace('T', " ");
    let session = if status.session.is_empty() { "none" } else { &status.session };
    let rest = format!("  session {session}  {time} UTC  version {}", status.version);
    let mut lines = vec![Line::from(vec![state, Span::raw(clean(&rest))])];
    let style = if status.health.status == HealthState::Down { BAD } else { DOUBTFUL };
    for reason in &status.health.reasons {
        let wrapped = wrap(reason, width.saturating_sub(2));
        lines.extend(wrapped.into_iter().map(|text| Line::styled(format!("  {text}"), style)));
    }
    lines
}

fn feeds(status: &Status, before: Before<'_>, width: usize) -> Vec<Line<'static>> {
    let rate = |feed: &FeedLine| {
        let (earlier, since) = before?;
        let earlier = earlier.feeds.iter().find(|known| known.name == feed.name)?;
        let messages = feed.messages.checked_sub(earlier.messages)?;
        (!since.is_zero()).then(|| count((messages as f64 / since.as_secs_f64()).round() as u64))
    };
    let row = |feed: &FeedLine| {
        let style = match feed.state.as_str() {
            "live" if feed.degraded => BAD,
            "live" => GOOD,
            "off" => QUIET,
            "refused" => BAD,
            _ => DOUBTFUL,
        };
        let trouble = |number: u64| (count(number), if number > 0 { DOUBTFUL } else { USUAL });
        vec![
            (feed.name.clone(), USUAL),
            (feed.state.clone(), style),
            (feed.age_ms.map_or("–".into(), age), USUAL),
            (rate(feed).unwrap_or("–".into()), USUAL),
            (count(feed.messages), USUAL),
            (count(feed.published), USUAL),
            (count(feed.late), USUAL),
            (count(feed.duplicates), USUAL),
            trouble(feed.bad),
            trouble(feed.shed),
        ]
    };
    let header = "FEED|STATE|>AGE|>MSG/S|?>MESSAGES|>PUBLISHED|?>LATE|?>DUPL|>BAD|>SHED";
    table(width, "no feeds", header, status.feeds.iter().map(row))
}

fn quotes(status: &Status, width: usize) -> Vec<Line<'static>> {
    let row = |quote: &QuoteLine| {
        let style = match quote.freshness.as_str() {
            "live" => USUAL,
            "closed" => QUIET,
            _ => BAD,
        };
        let price = |price: &Option<String>| (price.clone().unwrap_or("–".into()), style);
        // What is too old is said in a word too: colours are not for everyone.
        let shown = if quote.stale { "STALE" } else { &quote.freshness };
        vec![
            (quote.symbol.clone(), USUAL),
            price(&quote.bid),
            price(&quote.ask),
            price(&quote.last),
            (quote.source.clone(), USUAL),
            (age(quote.age_ms), style),
            (shown.to_owned(), if quote.freshness == "live" { GOOD } else { style }),
        ]
    };
    table(width, "no quotes yet", "SYMBOL|>BID|>ASK|>LAST|SOURCE|>AGE|QUOTE", status.quotes.iter().map(row))
}

fn accounts(status: &Status, width: usize) -> Vec<Line<'static>> {
    let row = |cell: &CellView| {
        let (state, style) = match (&cell.halted, cell.mode) {
            (Some(_), _) => ("HALTED", BAD),
            (None, TradingMode::Open) => ("open", GOOD),
            (None, TradingMode::Paused) => ("paused", DOUBTFUL),
            (None, TradingMode::Killed) => ("KILLED", BAD),
        };
        vec![
            (cell.account.clone(), USUAL),
            (state.to_owned(), style),
            (format!("{} {}", money(&cell.equity), cell.currency), USUAL),
            (money(&cell.cash), USUAL),
            (money(&cell.realized), of_sign(&cell.realized)),
            (money(&cell.unrealized), of_sign(&cell.unrealized)),
            (money(&cell.fees), USUAL),
            (count(cell.open_orders as u64), USUAL),
            (count(cell.fills), USUAL),
            (count(cell.denied), if cell.denied > 0 { DOUBTFUL } else { USUAL }),
        ]
    };
    let header = "ACCOUNT|STATE|>EQUITY|?>CASH|>REALIZED|>OPEN P&L|?>FEES|?>OPEN|>FILLS|>DENIED";
    table(width, "no accounts here", header, status.cells.iter().map(row))
}

fn positions(status: &Status, width: usize) -> Vec<Line<'static>> {
    let rows = status.cells.iter().flat_map(|cell| {
        cell.positions.iter().map(move |position| {
            vec![
                (cell.account.clone(), USUAL),
                (position.symbol.clone(), USUAL),
                (position.qty.clone(), USUAL),
                (position.mark.clone(), USUAL),
                (money(&position.unrealized), of_sign(&position.unrealized)),
            ]
        })
    });
    table(width, "no positions", "ACCOUNT|POSITION|>QUANTITY|>MARK|>OPEN P&L", rows)
}

fn strategies(status: &Status, width: usize) -> Vec<Line<'static>> {
    let row = |cell: &CellView, strategy: &StrategyView| {
        let (state, style) = match (strategy.quarantined, strategy.running) {
            (true, _) => ("QUARANTINED", BAD),
            (false, true) => ("running", GOOD),
            (false, false) => ("stopped", QUIET),
        };
        vec![
            (cell.account.clone(), USUAL),
            (strategy.id.clone(), USUAL),
            (strategy.kind.clone(), USUAL),
            (state.to_owned(), style),
            (count(strategy.failures.into()), if strategy.failures > 0 { DOUBTFUL } else { USUAL }),
        ]
    };
    let rows = status.cells.iter().flat_map(|cell| cell.strategies.iter().map(move |s| row(cell, s)));
    table(width, "no strategies", "ACCOUNT|STRATEGY|KIND|STATE|>FAILURES", rows)
}

fn tail(status: &Status) -> Vec<Line<'static>> {
    let mut lines = vec![Line::default()];
    if let Some(recorder) = &status.recorder {
        let rows = count(recorder.rows);
        let behind = format!("{} records ({}) behind", count(recorder.lag_records), age(recorder.lag_ms));
        let failures = format!("{} failures", count(recorder.failures));
        let style = if recorder.failing { BAD } else { USUAL };
        lines.push(Line::styled(format!("recorder  {rows} rows written, {behind}, {failures}"), style));
    }
    if let Some(bars) = &status.bars {
        let style = if bars.failing { BAD } else { USUAL };
        let text = format!("bars      {} made, {} late ticks", count(bars.bars), count(bars.late));
        lines.push(Line::styled(text, style));
    }
    lines
}

type Cell = (String, Style);

/// Spaces between two columns.
const GAP: usize = 2;

/// A table under an empty line; its header names the columns. Those with `>` are set to the right, those with `?` are
/// left out, the last one first, while all together are wider than `width`.
fn table(
    width: usize,
    none: &str,
    header: &str,
    rows: impl Iterator<Item = Vec<Cell>>,
) -> Vec<Line<'static>> {
    let mut rows: Vec<Vec<Cell>> = rows.collect();
    if rows.is_empty() {
        return vec![Line::default(), Line::styled(none.to_owned(), QUIET)];
    }
    let title = |name: &str| (name.trim_start_matches(['?', '>']).to_owned(), HEADING);
    rows.insert(0, header.split('|').map(title).collect());
    for (text, _) in rows.iter_mut().flatten() {
        *text = clean(text);
    }
    let mut columns: Vec<(&str, usize)> = Vec::new();
    for (at, name) in header.split('|').enumerate() {
        let widest = rows.iter().map(|row| row[at].0.chars().count()).max().unwrap_or(0);
        columns.push((name, widest + GAP));
    }
    while columns.iter().map(|(_, width)| width).sum::<usize>() > width.saturating_add(GAP)
        && let Some(least) = columns.iter().rposition(|(name, _)| name.starts_with('?'))
    {
        columns.remove(least);
        rows.iter_mut().for_each(|row| drop(row.remove(least)));
    }
    let line = |row: Vec<Cell>| {
        let cells = row.into_iter().zip(&columns).map(|((text, style), (name, width))| {
            let width = width - GAP;
            let text =
                if name.contains('>') { format!("{text:>width$}  ") } else { format!("{text:<width$}  ") };
            Span::styled(text, style)
        });
        Line::from(cells.collect::<Vec<_>>())
    };
    std::iter::once(Line::default()).chain(rows.into_iter().map(line)).collect()
}

/// Text in lines of so many characters, without control characters; a word that is longer has a line of its own.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in clean(text).split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Text from elsewhere must not move the cursor.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn of_sign(money: &str) -> Style {
    match money.parse::<Decimal>() {
        Ok(money) if money.is_sign_negative() && !money.is_zero() => BAD,
        Ok(money) if !money.is_zero() => GOOD,
        _ => USUAL,
    }
}

/// With two decimals and commas.
fn money(text: &str) -> String {
    let Ok(money) = text.parse::<Decimal>() else {
        return if text.is_empty() { "–".to_owned() } else { text.to_owned() };
    };
    let text = format!("{:.2}", money.round_dp(2).abs());
    let (whole, cents) = text.split_once('.').unwrap_or((&text, "00"));
    let sign = if money.round_dp(2) < Decimal::ZERO { "-" } else { "" };
    format!("{sign}{}.{cents}", commas(whole))
}

fn count(number: u64) -> String {
    commas(&number.to_string())
}

fn commas(digits: &str) -> String {
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `0.4s`, `12s`, `3m05s`, `2h10m`, `4d`.
pub fn age(ms: i64) -> String {
    let secs = ms / 1000;
    match secs {
        ..10 => format!("{}.{}s", secs, ms % 1000 / 100),
        10..60 => format!("{secs}s"),
        60..3600 => format!("{}m{:02}s", secs / 60, secs % 60),
        3600..86_400 => format!("{}h{:02}m", secs / 3600, secs % 3600 / 60),
        _ => format!("{}d", secs / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tradeflow_api::Health;

    #[test]
    fn numbers_are_written_for_people() {
        for (text, shown) in [
            ("1234567.891", "1,234,567.89"),
            ("-50", "-50.00"),
            ("-0.001", "0.00"),
            ("999.995", "1,000.00"),
            ("", "–"),
            ("odd", "odd"),
        ] {
            assert_eq!(money(text), shown, "{text}");
        }
        for (ms, shown) in [
            (0, "0.0s"),
            (9_999, "9.9s"),
            (59_999, "59s"),
            (185_000, "3m05s"),
            (7_800_000, "2h10m"),
            (345_600_000, "4d"),
        ] {
            assert_eq!(age(ms), shown);
        }
        assert_eq!(
            (count(0), count(999), count(1_000), count(1_234_567)),
            ("0".into(), "999".into(), "1,000".into(), "1,234,567".into())
        );
    }

    #[test]
    fn sentences_are_wrapped_at_words() {
        assert_eq!(wrap("a feed is silent\n", 9), ["a feed is", "silent"]);
        assert_eq!(wrap("incomprehensible to me", 5), ["incomprehensible", "to me"]);
        assert_eq!(wrap("as it is", usize::MAX), ["as it is"]);
    }

    #[test]
    fn a_narrow_table_leaves_out_what_matters_least() {
        let cell = CellView { account: "paper".into(), currency: "USD".into(), ..CellView::default() };
        let million = "1234567.89".to_owned();
        let status = Status {
            cells: vec![CellView {
                equity: million.clone(),
                cash: million.clone(),
                realized: million.clone(),
                unrealized: million.clone(),
                fees: million,
                ..cell
            }],
            ..Status::default()
        };
        for (width, cash, fees) in
            [(103, true, true), (102, true, false), (89, true, false), (88, false, false), (75, false, false)]
        {
            let lines = accounts(&status, width);
            let heading = lines[1].to_string();
            assert_eq!((heading.contains("CASH"), heading.contains("FEES")), (cash, fees), "{width}");
            assert!(heading.contains("DENIED"));
            assert!(lines.iter().all(|line| line.to_string().trim_end().chars().count() <= width), "{width}");
            assert_eq!(lines[1].to_string().chars().count(), lines[2].to_string().chars().count());
        }
    }

    #[test]
    fn nothing_that_a_node_says_reaches_the_terminal_as_a_command() {
        let mut status = Status { session: "one".into(), ..Status::default() };
        let evil = "\u{1b}]0;title\u{7}\r\n";
        status.health = Health { status: HealthState::Degraded, reasons: vec![evil.into()] };
        status.feeds = vec![FeedLine { name: evil.into(), state: evil.into(), ..FeedLine::default() }];
        status.quotes =
            vec![QuoteLine { symbol: evil.into(), bid: Some(evil.into()), ..QuoteLine::default() }];
        let cell = CellView { account: evil.into(), equity: evil.into(), ..CellView::default() };
        status.cells = vec![cell];
        let lines = lines(&status, None, 20);
        assert!(lines.len() > 10);
        for line in lines {
            assert!(!line.to_string().chars().any(char::is_control), "{line:?}");
        }
    }
}
