//! Statistics of equity curves and trades, gathered as the rows go by.
//!
//! - *Drawdown* is the fall from the highest equity so far, as a fraction of it; a fall below zero counts as more than 1.
//! - *Daily returns* are between the last points of UTC dates that have points. The Sharpe ratio is their mean over their
//!   sample standard deviation, times the root of the trading days of a year: 365 for markets that never close, 252
//!   otherwise; no interest is subtracted. The Sortino ratio has in its place the root mean square of the losses.
//! - *CAGR* is the yearly growth that leads from start to end over the run's length in years of 365.25 days.

use std::collections::VecDeque;

use serde::Serialize;
use tradeflow_actors::account::RoundTrip;
use tradeflow_model::calendar::Calendar;
use tradeflow_model::plan::{CellPlan, RunPlan};
use tradeflow_model::time::NANOS_PER_DAY;
use tradeflow_model::{Instrument, Money, Side};

use crate::results::report::{Gathered, Trace};
use crate::results::tables::Points;

/// What is known of an equity curve.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct CurveStatistics {
    /// Largest fall from a high, as a fraction of it.
    pub max_drawdown: f64,
    /// Nanoseconds from a high to the first point at or above it again, at most; to the end where it was never reached.
    pub max_drawdown_ns: i64,
    /// Yearly growth; `None` for a run that ends at or below zero, or has no length.
    pub cagr: Option<f64>,
    /// Yearly standard deviation of daily returns.
    pub volatility: Option<f64>,
    /// Sharpe ratio.
    pub sharpe: Option<f64>,
    /// Sortino ratio.
    pub sortino: Option<f64>,
}

/// A curve as it goes by.
#[derive(Debug, Clone)]
struct Curve {
    start: f64,
    days_a_year: f64,
    first_ts: Option<i64>,
    last: (i64, f64),
    peak: f64,
    peak_ts: i64,
    max_drawdown: f64,
    max_drawdown_ns: i64,
    /// UTC date of the last point, and equity at the end of the date before.
    day: i64,
    day_end: f64,
    returns: Moments,
}

/// Count, mean and squares of a stream (Welford), and the squares of what is below zero.
#[derive(Debug, Clone, Default)]
struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
    squared_losses: f64,
}

impl Moments {
    fn push(&mut self, value: f64) {
        self.count += 1.0;
        let before = value - self.mean;
        self.mean += before / self.count;
        self.squares += before * (value - self.mean);
        self.squared_losses += value.min(0.0).powi(2);
    }

    fn deviation(&self) -> Option<f64> {
        (self.count > 1.0).then(|| (self.squares / (self.count - 1.0)).sqrt()).filter(|d| *d > 0.0)
    }

    fn downside(&self) -> Option<f64> {
        (self.count > 1.0).then(|| (self.squared_losses / self.count).sqrt()).filter(|d| *d > 0.0)
    }
}

impl Curve {
    fn new(start: f64, days_a_year: f64) -> Self {
        Self {
            start,
            days_a_year,
            first_ts: None,
            last: (0, start),
            peak: start,
            peak_ts: 0,
            max_drawdown: 0.0,
            max_drawdown_ns: 0,
            day: i64::MIN,
            day_end: start,
            returns: Moments::default(),
        }
    }

    #[inline]
    fn push(&mut self, ts: i64, equity: f64) {
        if self.first_ts.is_none() {
            self.first_ts = Some(ts);
            self.peak_ts = ts;
            self.day = (ts - 1).div_euclid(NANOS_PER_DAY);
        }
        // A point at midnight ends the date before: it is the close of that date's last bar.
        if ts > (self.day + 1) * NANOS_PER_DAY {
            self.end_day();
            self.day = (ts - 1).div_euclid(NANOS_PER_DAY);
        }
        self.last = (ts, equity);
        if equity >= self.peak {
            self.peak = equity;
            self.peak_ts = ts;
            return;
        }
        self.max_drawdown_ns = self.max_drawdown_ns.max(ts - self.peak_ts);
        let drawdown = if self.peak > 0.0 { (self.peak - equity) / self.peak } else { 0.0 };
        self.max_drawdown = self.max_drawdown.max(drawdown);
    }

    fn end_day(&mut self) {
        if self.day_end > 0.0 {
            self.returns.push(self.last.1 / self.day_end - 1.0);
        }
        self.day_end = self.last.1;
    }

    fn finish(mut self) -> CurveStatistics {
        let Some(first_ts) = self.first_ts else { return CurveStatistics::default() };
        self.end_day();
        let years = (self.last.0 - first_ts) as f64 / (365.25 * NANOS_PER_DAY as f64);
        let growth = self.last.1 / self.start;
        let cagr =
            (years > 0.0 && growth > 0.0).then(|| growth.powf(1.0 / years) - 1.0).filter(|c| c.is_finite());
        let root = self.days_a_year.sqrt();
        CurveStatistics {
            max_drawdown: self.max_drawdown,
            max_drawdown_ns: self.max_drawdown_ns,
            cagr,
            volatility: self.returns.deviation().map(|d| d * root),
            sharpe: self.returns.deviation().map(|d| self.returns.mean / d * root),
            sortino: self.returns.downside().map(|d| self.returns.mean / d * root),
        }
    }
}

/// Statistics of a cell.
#[derive(Debug, Clone)]
pub struct Statistics {
    curve: Curve,
    instruments: Vec<Instrument>,
    trades: TradeStatistics,
    /// The curve as the report draws it, where accounts are few enough.
    trace: Option<Trace>,
}

/// What is known of the trades that ended.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct TradeStatistics {
    /// Trades that ended.
    pub count: u64,
    /// Of these, long ones.
    pub long: u64,
    /// Trades that ended with a profit after fees.
    pub wins: u64,
    /// Sum of profits of winning trades, after fees.
    pub gross_profit: f64,
    /// Sum of losses of the others, as a positive number.
    pub gross_loss: f64,
    /// Best trade.
    pub best: f64,
    /// Worst trade.
    pub worst: f64,
    /// Sum of the times that trades were open.
    pub held_ns: i64,
}

impl Statistics {
    /// Of a cell at its start.
    pub fn new(run: &RunPlan, cell: &CellPlan) -> Self {
        let start = balance(cell);
        Self {
            curve: Curve::new(start, days_a_year(run)),
            instruments: run.instruments.clone(),
            trades: TradeStatistics::default(),
            trace: (run.cells.len() <= Gathered::CURVES_MAX).then(|| Trace::new(start)),
        }
    }

    /// Takes points of the curve.
    pub(crate) fn take_points(&mut self, points: &Points) {
        for (ts, equity) in points.ts_event.iter().zip(&points.equity) {
            self.curve.push(*ts, *equity);
            if let Some(trace) = &mut self.trace {
                trace.push(*ts, *equity);
            }
        }
    }

    /// Takes trades. Hands each on with its profit after fees, which an open one does not have.
    pub fn take_trades(&mut self, trades: &[RoundTrip], mut hand_on: impl FnMut(&RoundTrip, Option<f64>)) {
        for trip in trades {
            let Some(exit_time) = trip.exit_time else {
                hand_on(trip, None);
                continue;
            };
            let definition = &self.instruments[trip.instrument.index()];
            let profit = trip.profit(definition).map_or(0.0, Money::to_f64);
            hand_on(trip, Some(profit));
            let trades = &mut self.trades;
            trades.best = if trades.count == 0 { profit } else { trades.best.max(profit) };
            trades.worst = if trades.count == 0 { profit } else { trades.worst.min(profit) };
            trades.count += 1;
            trades.long += u64::from(trip.side == Side::Buy);
            trades.wins += u64::from(profit > 0.0);
            trades.gross_profit += profit.max(0.0);
            trades.gross_loss += (-profit).max(0.0);
            trades.held_ns += exit_time.as_nanos() - trip.entry_time.as_nanos();
        }
    }

    /// The curve as the report draws it; `None` where accounts are too many, or it was taken before.
    pub fn take_trace(&mut self) -> Option<Trace> {
        self.trace.take().map(Trace::finish)
    }

    /// The statistics of curve and trades.
    pub fn finish(self) -> (CurveStatistics, TradeStatistics) {
        (self.curve.finish(), self.trades)
    }
}

impl TradeStatistics {
    /// Winning trades over all.
    pub fn win_rate(&self) -> Option<f64> {
        (self.count > 0).then(|| self.wins as f64 / self.count as f64)
    }

    /// Profits over losses.
    pub fn profit_factor(&self) -> Option<f64> {
        (self.gross_loss > 0.0).then(|| self.gross_profit / self.gross_loss)
    }

    /// The trades of several cells together.
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        self.best = if self.count == 0 { other.best } else { self.best.max(other.best) };
        self.worst = if self.count == 0 { other.worst } else { self.worst.min(other.worst) };
        self.count += other.count;
        self.long += other.long;
        self.wins += other.wins;
        self.gross_profit += other.gross_profit;
        self.gross_loss += other.gross_loss;
        self.held_ns += other.held_ns;
    }
}

/// The curve of all accounts together: their equities summed at each time at which all have a point.
#[derive(Debug)]
pub struct TotalCurve {
    curve: Curve,
    trace: Trace,
    waiting: Vec<VecDeque<(i64, f64)>>,
}

impl TotalCurve {
    /// Of a run at its start.
    pub fn new(plan: &RunPlan) -> Self {
        let start = plan.cells.iter().map(balance).sum();
        Self {
            curve: Curve::new(start, days_a_year(plan)),
            trace: Trace::new(start),
            waiting: vec![VecDeque::new(); plan.cells.len()],
        }
    }

    /// Takes points of a cell. All cells of a run see the same events and have points at the same times.
    pub(crate) fn take(&mut self, cell: usize, points: &Points) {
        if self.waiting.len() == 1 {
            return; // one account's curve is the total
        }
        self.waiting[cell].extend(points.ts_event.iter().copied().zip(points.equity.iter().copied()));
        while self.waiting.iter().all(|points| !points.is_empty()) {
            let heads: Vec<(i64, f64)> = self.waiting.iter_mut().filter_map(VecDeque::pop_front).collect();
            let ts = heads.iter().map(|(ts, _)| *ts).max().unwrap_or_default();
            let equity = heads.iter().map(|(_, equity)| equity).sum();
            self.curve.push(ts, equity);
            self.trace.push(ts, equity);
        }
    }

    /// The statistics, and the curve as the report draws it; `cells` are those of the single accounts. Of a single
    /// account the total is its own curve, which is not drawn again.
    pub fn finish(self, cells: &[Statistics]) -> (CurveStatistics, Option<Trace>) {
        match cells {
            [only] => (only.curve.clone().finish(), None),
            _ => (self.curve.finish(), Some(self.trace.finish())),
        }
    }
}

/// The float nearest to the starting balance, as the points' are to theirs: a start one float off would make a return,
/// and a Sharpe ratio, where nothing was traded.
fn balance(cell: &CellPlan) -> f64 {
    cell.account.balance.to_string().parse().unwrap_or_default()
}

fn days_a_year(plan: &RunPlan) -> f64 {
    if plan.instruments.iter().all(|i| i.calendar == Calendar::AlwaysOpen) { 365.0 } else { 252.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(points: &[(i64, f64)]) -> CurveStatistics {
        let mut curve = Curve::new(points[0].1, 365.0);
        points.iter().for_each(|(day, equity)| curve.push(day * NANOS_PER_DAY, *equity));
        curve.finish()
    }

    #[test]
    fn a_drawdown_is_from_the_highest_point_before() {
        let stats = curve(&[(1, 100.0), (2, 120.0), (3, 90.0), (4, 130.0), (5, 117.0), (6, 140.0)]);
        assert!((stats.max_drawdown - 0.25).abs() < 1e-12);
        assert_eq!(stats.max_drawdown_ns, NANOS_PER_DAY);
    }

    /// By hand: returns of +10 %, −10 %, +10 %; mean 1/30, sample deviation 0.11547.
    #[test]
    fn ratios_are_of_daily_returns() {
        let stats = curve(&[(1, 100.0), (2, 110.0), (3, 99.0), (4, 108.9)]);
        // The first point ends its own date with a return of 0.
        let returns: [f64; 4] = [0.0, 0.1, -0.1, 0.1];
        let mean = returns.iter().sum::<f64>() / 4.0;
        let deviation = (returns.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / 3.0).sqrt();
        assert!((stats.sharpe.unwrap() - mean / deviation * 365_f64.sqrt()).abs() < 1e-9);
        let downside = (0.01_f64 / 4.0).sqrt();
        assert!((stats.sortino.unwrap() - mean / downside * 365_f64.sqrt()).abs() < 1e-9);
    }

    #[test]
    fn a_flat_curve_has_no_ratio() {
        let stats = curve(&[(1, 100.0), (2, 100.0), (3, 100.0)]);
        assert_eq!((stats.sharpe, stats.sortino, stats.max_drawdown), (None, None, 0.0));
        assert_eq!(stats.cagr, Some(0.0));
    }
}
