//! The random path of a market.
//!
//! Volatility is a product of three: a daily GARCH(1,1), a minute GARCH(1,1), and the time of day. Shocks are a
//! mixture of normals of three widths, and a rare jump, so that tails are heavy. Each minute has so many quote
//! changes as it is lively; the mid walks through them, bid and ask stand around it on the tick, and a trade takes
//! one or the other.
//!
//! Only `+ − × ÷` and the square root are used, which every platform rounds alike: one seed gives the same data
//! everywhere.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;
use tradeflow_model::calendar::Session;
use tradeflow_model::market::Aggressor;
use tradeflow_model::time::NANOS_PER_MIN;
use tradeflow_model::{Price, Qty, Timestamp};

use super::market::Market;

/// A change of the quote, and the trade that went with it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    pub(super) time: Timestamp,
    pub(super) bid: Price,
    pub(super) ask: Price,
    pub(super) bid_size: Qty,
    pub(super) ask_size: Qty,
    pub(super) trade: Option<(Price, Qty, Aggressor)>,
}

/// Walks a market through its sessions.
pub(super) struct Path<'a> {
    market: &'a Market,
    random: ChaCha8Rng,
    /// The mid, in quote currency.
    mid: f64,
    /// Variance of a day's return, relative to the long run, and the return of the day so far.
    daily: f64,
    day_return: f64,
    /// Variance of a minute's return, relative to the long run.
    minutely: f64,
    /// Minutes of silence to come.
    outage: u32,
    last: Timestamp,
}

// Persistence of 0.98 and 0.97: clusters of weeks, and of about an hour.
const DAILY: (f64, f64) = (0.08, 0.90);
const MINUTELY: (f64, f64) = (0.12, 0.85);
const MILLI: i64 = 1_000_000;

impl<'a> Path<'a> {
    pub(super) fn new(market: &'a Market, random: ChaCha8Rng) -> Self {
        Self {
            market,
            random,
            mid: market.price,
            daily: 1.0,
            day_return: 0.0,
            minutely: 1.0,
            outage: 0,
            last: Timestamp::MIN,
        }
    }

    /// The mid now.
    pub(super) fn mid(&self) -> f64 {
        self.mid
    }

    /// Moves the price by a factor, between sessions: a split, or the markdown of a dividend.
    pub(super) fn rescale(&mut self, factor: f64) {
        self.mid *= factor;
    }

    /// Walks through the part of a session within `from..to`.
    pub(super) fn session(
        &mut self,
        session: &Session,
        from: Timestamp,
        to: Timestamp,
        sink: &mut impl FnMut(&Step),
    ) {
        self.begin_day();
        let length = session.close.as_nanos() - session.open.as_nanos();
        let minutes = length / NANOS_PER_MIN;
        let intraday = 1.0 - self.market.overnight * self.market.overnight;
        let unit = self.market.daily_volatility * (self.daily * intraday / minutes as f64).sqrt();
        let drift = self.market.daily_drift / minutes as f64;
        for minute in 0..minutes {
            let start = session.open.saturating_add(minute * NANOS_PER_MIN);
            if start < from || start >= to || !session.is_open(start) {
                continue;
            }
            self.minute(session, start, unit, drift, sink);
        }
    }

    /// Moves the daily volatility on, and opens away from the last close.
    fn begin_day(&mut self) {
        let volatility = self.market.daily_volatility;
        let shock = self.day_return / volatility;
        let (alpha, beta) = DAILY;
        self.daily = ((1.0 - alpha - beta) + alpha * shock * shock + beta * self.daily).clamp(0.2, 8.0);
        let gap = self.market.overnight * volatility * self.daily.sqrt() * self.heavy();
        self.day_return = gap;
        self.mid *= 1.0 + gap;
    }

    fn minute(
        &mut self,
        session: &Session,
        start: Timestamp,
        unit: f64,
        drift: f64,
        sink: &mut impl FnMut(&Step),
    ) {
        if self.outage > 0 {
            self.outage -= 1;
            return;
        }
        if self.market.has_outages && self.one_in(15_000) {
            self.outage = 3 + (self.uniform() * 27.0) as u32;
        }
        let season = (self.market.season)(session, start);
        let width = self.minutely.sqrt();
        let jump = if self.one_in(8_000) { 6.0 } else { 1.0 };
        let scale = unit * season * width * self.mixture() * jump;
        let lively =
            self.market.steps_per_minute * season * (0.5 + 0.5 * width) * (0.4 + 1.2 * self.uniform());
        let steps = (lively as usize).min(200);
        let before = self.mid;
        let mut offsets: Vec<i64> = (0..steps).map(|_| (self.uniform() * 60_000.0) as i64 * MILLI).collect();
        offsets.sort_unstable();
        // A minute without a step moves all the same; the next one shows it.
        let moves = steps.max(1);
        let step_scale = scale / (moves as f64).sqrt();
        for index in 0..moves {
            let change = drift / moves as f64 + step_scale * self.normal();
            self.mid *= 1.0 + change.clamp(-0.2, 0.2);
            if let Some(offset) = offsets.get(index) {
                let step = self.quote(start.saturating_add(*offset), season, width);
                self.last = step.time;
                sink(&step);
            }
        }
        let change = self.mid / before - 1.0;
        self.day_return += change;
        let shock = change / (unit * season);
        let (alpha, beta) = MINUTELY;
        self.minutely =
            ((1.0 - alpha - beta) + alpha * shock * shock + beta * self.minutely).clamp(0.1, 30.0);
    }

    fn quote(&mut self, time: Timestamp, season: f64, width: f64) -> Step {
        let instrument = &self.market.instrument;
        let one = tradeflow_model::fixed::pow10(instrument.price_scale) as f64;
        let tick = instrument.price_increment.raw();
        let in_ticks = self.mid * one / tick as f64;
        // The spread widens with volatility and in quiet hours.
        let half = in_ticks * self.market.half_spread * (0.4 + 0.6 * width) * (0.7 + 0.3 / season);
        let bid = ((in_ticks - half).floor() as i64).max(1);
        let ask = ((in_ticks + half).ceil() as i64).max(bid + 1);
        let (bid, ask) = (Price::from_raw(bid * tick), Price::from_raw(ask * tick));
        let (bid_size, ask_size) = (self.size(), self.size());
        let trade = self.market.has_trades.then(|| {
            let qty = self.size();
            if self.uniform() < 0.5 { (ask, qty, Aggressor::Buyer) } else { (bid, qty, Aggressor::Seller) }
        });
        Step { time, bid, ask, bid_size, ask_size, trade }
    }

    /// A size on the lot: usually small, at times large.
    fn size(&mut self) -> Qty {
        let lot = self.market.instrument.size_increment.raw();
        let (u, v) = (self.uniform(), self.uniform());
        let lots = self.market.lots * u * u * 2.0 / (0.05 + v);
        Qty::from_raw(((lots as i64) + 1) * lot)
    }

    /// Uniform on `[0, 1)`.
    fn uniform(&mut self) -> f64 {
        (self.random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn one_in(&mut self, count: u32) -> bool {
        self.random.next_u32() < u32::MAX / count
    }

    /// Nearly normal with variance 1: four uniforms of 16 bits added up.
    fn normal(&mut self) -> f64 {
        let bits = self.random.next_u64();
        let sum: u64 = (0..4).map(|part| (bits >> (16 * part)) & 0xffff).sum();
        // The sum has mean 2·65535 and variance 4·65536²/12.
        (sum as f64 - 131_070.0) / 37_837.2
    }

    /// The width of a minute's shock: 1 mostly, now and then more. Mean square 1.
    fn mixture(&mut self) -> f64 {
        match self.random.next_u32() % 100 {
            0 => 3.2,
            1..8 => 1.8,
            _ => 0.85,
        }
    }

    /// A shock with heavy tails.
    fn heavy(&mut self) -> f64 {
        self.mixture() * self.normal()
    }
}
