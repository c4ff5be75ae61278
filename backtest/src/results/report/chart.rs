//! Charts as SVG, with their labels as HTML beside them: so the drawing stretches to any width, and the text stays legible.

use std::fmt::Write;

use tradeflow_model::Timestamp;
use tradeflow_model::time::NANOS_PER_DAY;

use super::trace::Trace;
use crate::results::format::grouped;

/// Units of the drawing; it is stretched to the space there is.
const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 300.0;

/// The range of values, and the values at which there is a line.
struct Scale {
    low: f64,
    high: f64,
    ticks: Vec<f64>,
    /// Decimals that tell the ticks apart.
    decimals: usize,
}

impl Scale {
    /// About `count` round values over the range from `low` to `high`.
    fn new(low: f64, high: f64, count: f64) -> Self {
        let mut span = high - low;
        if !(span.is_finite() && span > high.abs().max(low.abs()) * 1e-9) {
            span = high.abs().max(1.0) * 0.02;
        }
        let rough = span / count;
        let power = 10_f64.powf(rough.log10().floor());
        let step =
            [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().map(|m| m * power).find(|s| *s >= rough).unwrap_or(rough);
        let middle = (low + high) / 2.0;
        let (low, high) = (middle - span / 2.0, middle + span / 2.0);
        let first = (low / step).ceil() as i64;
        let ticks =
            (first..first.saturating_add(20)).map(|i| i as f64 * step).take_while(|v| *v <= high).collect();
        let decimals = (0..12).find(|d| (step * 10_f64.powi(*d)).fract().abs() < 1e-9).unwrap_or(2) as usize;
        Self { low, high, ticks, decimals }
    }

    /// Height above the bottom, from 0 to 1.
    fn share(&self, value: f64) -> f64 {
        ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT * (1.0 - self.share(value))
    }
}

/// Share of the width at a time.
fn x_share(ts: i64, span: (i64, i64)) -> f64 {
    let length = (i128::from(span.1) - i128::from(span.0)).max(1) as f64;
    ((i128::from(ts) - i128::from(span.0)) as f64 / length).clamp(0.0, 1.0)
}

/// The curve of equity, with a line at the start.
pub(super) fn equity(out: &mut String, trace: &Trace, label: &str) {
    let Some(span) = trace.span() else { return };
    let lowest = trace.columns().map(|(_, c)| c.min).fold(trace.start(), f64::min);
    let highest = trace.columns().map(|(_, c)| c.max).fold(trace.start(), f64::max);
    let margin = (highest - lowest) * 0.04;
    let scale = Scale::new(lowest - margin, highest + margin, 5.0);
    let line = equity_line(trace, span, &scale);
    let start = scale.y(trace.start());
    let (mut first, mut last) = (0.0, WIDTH);
    if let (Some((begin, _)), Some((end, _))) = (trace.columns().next(), trace.columns().last()) {
        (first, last) = (WIDTH * x_share(begin, span), WIDTH * x_share(end, span));
    }
    let body = format!(
        "<path class=\"area\" d=\"M{first:.1} {HEIGHT}L{}L{last:.1} {HEIGHT}Z\"/>\
         <path class=\"start\" d=\"M0 {start:.1}H{WIDTH}\"/><path class=\"line\" d=\"M{line}\"/>",
        line
    );
    figure(out, "equity", label, span, &scale, &body, |v| grouped(v, scale.decimals));
}

/// First, lowest, highest and last point of each column.
fn equity_line(trace: &Trace, span: (i64, i64), scale: &Scale) -> String {
    let mut line = String::new();
    for (ts, column) in trace.columns() {
        let x = WIDTH * x_share(ts, span);
        // From the end nearer to the first point, so that the stroke is drawn over once only.
        let rising = column.first - column.min <= column.max - column.first;
        let between = if rising { [column.min, column.max] } else { [column.max, column.min] };
        let mut drawn = f64::NAN;
        for value in [column.first, between[0], between[1], column.last] {
            let y = (scale.y(value) * 10.0).round() / 10.0;
            if y != drawn {
                let separator = if line.is_empty() { "" } else { "L" };
                let _ = write!(line, "{separator}{x:.1} {y}"); // writing to a String can't fail
                drawn = y;
            }
        }
    }
    line
}

/// How far below its high the curve was.
pub(super) fn drawdown(out: &mut String, trace: &Trace, label: &str) {
    let Some(span) = trace.span() else { return };
    let deepest = trace.deepest().map_or(0.0, |deepest| deepest.depth);
    let scale = Scale::new(-100.0 * deepest.max(0.001) * 1.04, 0.0, 3.0);
    let mut line = String::new();
    let (mut first, mut last) = (0.0, WIDTH);
    for (ts, column) in trace.columns() {
        let (x, y) = (WIDTH * x_share(ts, span), scale.y(-100.0 * column.drawdown));
        if line.is_empty() {
            first = x;
        }
        last = x;
        let _ = write!(line, "L{x:.1} {y:.1}");
    }
    let line = line.trim_start_matches('L');
    let body = format!(
        "<path class=\"area\" d=\"M{first:.1} 0L{line}L{last:.1} 0Z\"/><path class=\"line\" d=\"M{line}\"/>"
    );
    figure(out, "drawdown", label, span, &scale, &body, |v| format!("{} %", grouped(v, scale.decimals)));
}

/// A curve small enough to stand in a table.
pub(super) fn spark(out: &mut String, trace: &Trace) {
    let Some(span) = trace.span() else { return };
    let lowest = trace.columns().map(|(_, c)| c.min).fold(trace.start(), f64::min);
    let highest = trace.columns().map(|(_, c)| c.max).fold(trace.start(), f64::max);
    let scale = Scale::new(lowest, highest, 2.0);
    // A tenth of the columns is more than its pixels.
    let mut line = String::new();
    let columns: Vec<_> = trace.columns().collect();
    for group in columns.chunks(columns.len().div_ceil(200).max(1)) {
        let Some((ts, _)) = group.first() else { continue };
        let x = WIDTH * x_share(*ts, span);
        let low = group.iter().map(|(_, c)| c.min).fold(f64::INFINITY, f64::min);
        let high = group.iter().map(|(_, c)| c.max).fold(f64::NEG_INFINITY, f64::max);
        let _ = write!(line, "L{x:.0} {:.0}L{x:.0} {:.0}", scale.y(low), scale.y(high));
    }
    let _ = write!(
        out,
        "<svg class=\"spark\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" preserveAspectRatio=\"none\" aria-hidden=\"true\">\
         <path class=\"line\" d=\"M{}\"/></svg>",
        line.trim_start_matches('L')
    );
}

fn figure(
    out: &mut String,
    class: &str,
    label: &str,
    span: (i64, i64),
    scale: &Scale,
    body: &str,
    name: impl Fn(f64) -> String,
) {
    let times = time_ticks(span);
    let mut grid = String::new();
    for tick in &scale.ticks {
        let _ = write!(grid, "M0 {:.1}H{WIDTH}", scale.y(*tick));
    }
    for (ts, _) in &times {
        let _ = write!(grid, "M{:.1} 0V{HEIGHT}", WIDTH * x_share(*ts, span));
    }
    let _ = write!(
        out,
        "<div class=\"chart {class}\"><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" preserveAspectRatio=\"none\" \
         role=\"img\" aria-label=\"{label}\"><path class=\"grid\" d=\"{grid}\"/>{body}</svg>"
    );
    for tick in &scale.ticks {
        let _ = write!(
            out,
            "<span class=\"y\" style=\"bottom:{:.2}%\">{}</span>",
            100.0 * scale.share(*tick),
            name(*tick)
        );
    }
    for (index, (ts, text)) in times.iter().enumerate() {
        let share = 100.0 * x_share(*ts, span);
        // Too near to an end it would stick out, or run into the other axis.
        if (2.0..=97.0).contains(&share) {
            let class = if index % 2 == 1 { "x odd" } else { "x" };
            let _ = write!(out, "<span class=\"{class}\" style=\"left:{share:.2}%\">{text}</span>");
        }
    }
    out.push_str("</div>");
}

/// Times at which the axis has a label, at most eight, all at round places of the UTC calendar.
fn time_ticks(span: (i64, i64)) -> Vec<(i64, String)> {
    const TICKS_MAX: usize = 8;
    let hour = NANOS_PER_DAY / 24;
    for (step, format) in [
        (hour / 60, "%H:%M"),
        (hour / 12, "%H:%M"),
        (hour / 4, "%H:%M"),
        (hour, "%H:%M"),
        (3 * hour, "%b %-d, %H:%M"),
        (6 * hour, "%b %-d, %H:%M"),
        (NANOS_PER_DAY, "%b %-d"),
        (2 * NANOS_PER_DAY, "%b %-d"),
        (7 * NANOS_PER_DAY, "%b %-d"),
    ] {
        let first = span.0.div_euclid(step) + i64::from(span.0.rem_euclid(step) != 0);
        let last = span.1.div_euclid(step);
        if last - first < TICKS_MAX as i64 {
            let times = (first..=last).map(|i| i * step);
            return times
                .map(|ts| (ts, Timestamp::from_nanos(ts).to_jiff().strftime(format).to_string()))
                .collect();
        }
    }
    let month_of = |ts: i64| {
        let date = Timestamp::from_nanos(ts).to_jiff().to_zoned(jiff::tz::TimeZone::UTC).date();
        i64::from(date.year()) * 12 + i64::from(date.month()) - 1
    };
    let (first, last) = (month_of(span.0), month_of(span.1));
    for step in [1, 2, 3, 6, 12, 24, 60, 120, 600, 1200] {
        let begin = first.div_euclid(step) + i64::from(first.rem_euclid(step) != 0);
        let end = last.div_euclid(step);
        if end - begin >= TICKS_MAX as i64 {
            continue;
        }
        let months = (begin..=end).map(|i| i * step);
        return months
            .filter_map(|month| {
                let (year, number) = (month.div_euclid(12) as i16, month.rem_euclid(12) as i8 + 1);
                let ts = Timestamp::from_ymd(year, number, 1)?;
                let format = if step < 12 { "%b %Y" } else { "%Y" };
                let inside = (span.0..=span.1).contains(&ts.as_nanos());
                inside.then(|| (ts.as_nanos(), ts.to_jiff().strftime(format).to_string()))
            })
            .collect();
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(from: &str, to: &str) -> Vec<String> {
        let at = |text: &str| text.parse::<Timestamp>().unwrap().as_nanos();
        time_ticks((at(from), at(to))).into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn times_are_labelled_at_round_places() {
        assert_eq!(
            labels("2017-01-01", "2019-01-01"),
            ["Jan 2017", "Jul 2017", "Jan 2018", "Jul 2018", "Jan 2019"]
        );
        assert_eq!(labels("2004-08-19", "2013-03-01"), ["2006", "2008", "2010", "2012"]);
        assert_eq!(
            labels("2024-01-07T22:00Z", "2024-01-12T22:00Z"),
            ["Jan 8", "Jan 9", "Jan 10", "Jan 11", "Jan 12"]
        );
        assert_eq!(labels("2024-01-07T22:30Z", "2024-01-08T02:00Z"), ["23:00", "00:00", "01:00", "02:00"]);
        assert!(labels("1700-01-01", "2262-01-01").len() <= 8);
    }

    #[test]
    fn values_are_labelled_at_round_places() {
        let scale = Scale::new(97_000.0, 121_000.0, 5.0);
        assert_eq!(scale.ticks, [100_000.0, 105_000.0, 110_000.0, 115_000.0, 120_000.0]);
        assert_eq!(scale.decimals, 0);
        assert_eq!(Scale::new(0.0, 0.12, 5.0).decimals, 3);
        // A flat curve, even at zero, has room above and below.
        for level in [0.0, 100.0, -5.0] {
            let flat = Scale::new(level, level, 5.0);
            assert!(flat.low < level && level < flat.high && !flat.ticks.is_empty());
        }
    }
}
