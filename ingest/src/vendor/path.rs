//! The invented path of an instrument's price: any minute of it, on its own, from the seed.
//!
//! The price at the turn of a minute is the base price times one plus a sum of noises, each twice as long and √2 as high
//! as the one before: about a random walk below a month, and near the base price beyond. A minute's bar is drawn between
//! two such turns, and its ticks then make exactly that bar. So a bar of years ago and a tick of now agree without one
//! having to walk from the one to the other.
//!
//! Only whole numbers and `+ − × ÷` of floats are used, which every platform rounds alike.

use tradeflow_model::market::Aggressor;
use tradeflow_model::time::NANOS_PER_MIN;
use tradeflow_model::{Instrument, Symbol, Timestamp};

use super::{Tick, TickKind};

/// 2010-01-01, the first minute of every path, in minutes since 1970.
pub(super) const FIRST_MINUTE: i64 = 14_610 * 1_440;
/// Lengths of the noises: 1 to 2¹⁵ minutes (23 days).
const OCTAVES: u32 = 16;
/// Trades of a minute at least: open, high, low and close are four.
const TRADES_MIN: u64 = 4;

/// What a market is like.
#[derive(Debug, Clone)]
pub(super) struct Profile {
    pub(super) instrument: Instrument,
    /// The price it keeps near, in ticks.
    pub(super) base: i64,
    /// About the standard deviation of a minute's return, in millionths.
    pub(super) lively: i64,
    /// The spread, in ticks.
    pub(super) spread: i64,
    /// About the lots traded in a minute.
    pub(super) lots: i64,
}

/// The path of one market.
#[derive(Debug, Clone)]
pub(super) struct Path {
    pub(super) profile: Profile,
    seed: u64,
    /// Trades in a minute.
    trades: u64,
    quotes: bool,
}

/// A minute's bar, in ticks and lots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Minute {
    pub(super) open: i64,
    pub(super) high: i64,
    pub(super) low: i64,
    pub(super) close: i64,
    pub(super) volume: i64,
}

/// SplitMix64's mixing function: even numbers that stand beside each other come out unlike.
fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// From −1 to 1.
fn signed(x: u64) -> f64 {
    (x >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
}

/// Below `limit`, which is above zero.
fn below(x: u64, limit: i64) -> i64 {
    ((u128::from(x) * limit as u128) >> 64) as i64
}

impl Path {
    pub(super) fn new(profile: Profile, seed: u64, ticks_per_minute: u64, quotes: bool) -> Self {
        let trades = if quotes { ticks_per_minute / 2 } else { ticks_per_minute };
        let name = profile.instrument.symbol.as_str().bytes();
        let seed = name.fold(mix(seed), |seed, byte| mix(seed ^ u64::from(byte)));
        Self { profile, seed, trades: trades.max(TRADES_MIN), quotes }
    }

    fn draw(&self, stream: u64, number: i64) -> u64 {
        mix(self.seed ^ mix(stream << 56 ^ number as u64))
    }

    /// The price at the start of a minute, in ticks.
    fn turn(&self, minute: i64) -> i64 {
        let mut sum = 0.0;
        let mut height = self.profile.lively as f64 / 1e6;
        for octave in 0..OCTAVES {
            let (cell, within) = (minute >> octave, minute & ((1 << octave) - 1));
            let (from, to) =
                (signed(self.draw(octave.into(), cell)), signed(self.draw(octave.into(), cell + 1)));
            let share = within as f64 / (1_u64 << octave) as f64;
            sum += height * (from + (to - from) * share);
            height *= std::f64::consts::SQRT_2;
        }
        let price = self.profile.base as f64 * (1.0 + sum.max(-0.9));
        // Room below for the spread and the low.
        (price as i64).max(8 * self.profile.spread + 8)
    }

    /// The bar of a minute since 1970.
    pub(super) fn minute(&self, minute: i64) -> Minute {
        let (open, close) = (self.turn(minute), self.turn(minute + 1));
        self.between(minute, open, close)
    }

    /// The bars of `minutes`, of which each begins where the last one ended.
    pub(super) fn minutes(&self, minutes: std::ops::Range<i64>) -> impl Iterator<Item = (i64, Minute)> + '_ {
        let mut open = self.turn(minutes.start);
        minutes.map(move |minute| {
            let close = self.turn(minute + 1);
            let bar = self.between(minute, open, close);
            open = close;
            (minute, bar)
        })
    }

    fn between(&self, minute: i64, open: i64, close: i64) -> Minute {
        let wick = (i128::from(open) * i128::from(self.profile.lively) / 1_000_000) as i64 + 1;
        let (up, down) = (below(self.draw(60, minute), wick + 1), below(self.draw(61, minute), wick + 1));
        let floor = self.profile.spread + 1;
        let lots = self.profile.lots / 2 + below(self.draw(62, minute), self.profile.lots + 1);
        Minute {
            open,
            high: open.max(close) + up,
            low: (open.min(close) - down).max(floor.min(open.min(close))),
            close,
            volume: lots.max(self.trades as i64),
        }
    }

    /// The ticks that make a minute's bar, in order.
    pub(super) fn ticks(&self, minute: i64) -> MinuteTicks<'_> {
        let bar = self.minute(minute);
        let last = self.trades as i64 - 1;
        // The extremes stand somewhere between the first and the last trade, in either order.
        let first = 1 + below(self.draw(63, minute), last - 1);
        let second = 1 + (first - 1 + 1 + below(self.draw(64, minute), last - 2)) % (last - 1);
        let (early, late) = (first.min(second), first.max(second));
        let high_first = self.draw(65, minute) & 1 == 0;
        let (a, b) = if high_first { (bar.high, bar.low) } else { (bar.low, bar.high) };
        MinuteTicks {
            path: self,
            minute,
            bar,
            anchors: [(0, bar.open), (early, a), (late, b), (last, bar.close)],
            seed: self.draw(66, minute),
            next: 0,
        }
    }
}

/// The ticks of one minute: trades, each after the quote that it takes where there are quotes.
#[derive(Debug, Clone)]
pub(super) struct MinuteTicks<'a> {
    path: &'a Path,
    minute: i64,
    bar: Minute,
    anchors: [(i64, i64); 4],
    seed: u64,
    next: i64,
}

impl MinuteTicks<'_> {
    /// Goes on at the `next`th tick of the minute, from 0.
    pub(super) fn skip_to(mut self, next: i64) -> Self {
        self.next = next;
        self
    }

    pub(super) fn position(&self) -> i64 {
        self.next
    }

    fn price(&self, trade: i64, noise: u64) -> i64 {
        let after = self.anchors.iter().position(|(at, _)| trade <= *at).unwrap_or(3).max(1);
        let ((from, low), (to, high)) = (self.anchors[after - 1], self.anchors[after]);
        if trade == from || trade == to {
            return if trade == from { low } else { high };
        }
        let straight =
            low + ((i128::from(high - low) * i128::from(trade - from)) / i128::from(to - from)) as i64;
        let width = self.path.profile.spread.max(1);
        (straight + below(noise, 2 * width + 1) - width).clamp(self.bar.low, self.bar.high)
    }

    fn lots(&self, trade: i64) -> i64 {
        let count = self.path.trades as i64;
        let share = |trade: i64| self.bar.volume / count + i64::from(trade < self.bar.volume % count);
        // Trades in pairs: what one has less, the other has more.
        let pair = trade & !1;
        if pair + 1 == count {
            return share(trade);
        }
        let moved = below(mix(self.seed ^ 0x55 ^ (pair as u64) << 8), share(pair + 1));
        if trade == pair { share(trade) + moved } else { share(trade) - moved }
    }
}

impl Iterator for MinuteTicks<'_> {
    type Item = Tick;

    fn next(&mut self) -> Option<Tick> {
        let per_trade = 1 + i64::from(self.path.quotes);
        let (slot, slots) = (self.next, self.slots());
        if slot >= slots {
            return None;
        }
        self.next += 1;
        let trade = slot / per_trade;
        let noise = mix(self.seed ^ trade as u64);
        let price = self.price(trade, noise);
        let profile = &self.path.profile;
        let instrument = &profile.instrument;
        let is_buy = noise & 1 == 0;
        let money = |ticks: i64| {
            rust_decimal::Decimal::new(
                ticks * instrument.price_increment.raw(),
                instrument.price_scale.into(),
            )
        };
        let size = |lots: i64| {
            rust_decimal::Decimal::new(lots * instrument.size_increment.raw(), instrument.size_scale.into())
        };
        let kind = if slot % per_trade + 1 == per_trade {
            let aggressor = if is_buy { Aggressor::Buyer } else { Aggressor::Seller };
            TickKind::Trade { price: money(price), qty: size(self.lots(trade)), aggressor }
        } else {
            let (bid, ask) =
                if is_buy { (price - profile.spread, price) } else { (price, price + profile.spread) };
            let usual = 2 * (self.bar.volume / self.path.trades as i64) + 1;
            let (bid_size, ask_size) =
                (self.lots(trade) + below(mix(noise), usual), 1 + below(mix(noise ^ 1), usual));
            TickKind::Quote {
                bid: money(bid),
                ask: money(ask),
                bid_size: size(bid_size),
                ask_size: size(ask_size),
            }
        };
        Some(Tick {
            symbol: Symbol::clone(&instrument.symbol),
            ts_event: self.time(slot, slots),
            id: ((self.minute - FIRST_MINUTE) * self.path.trades as i64 + trade + 1) as u64,
            kind,
        })
    }
}

impl MinuteTicks<'_> {
    /// The time of a slot: somewhere in its share of the minute.
    fn time(&self, slot: i64, slots: i64) -> Timestamp {
        let share = NANOS_PER_MIN / slots;
        let start = (i128::from(NANOS_PER_MIN) * i128::from(slot) / i128::from(slots)) as i64;
        let jitter = below(mix(self.seed ^ 0xaa ^ (slot as u64) << 8), share.max(1));
        Timestamp::from_nanos(self.minute * NANOS_PER_MIN + start + jitter)
    }

    fn slots(&self) -> i64 {
        self.path.trades as i64 * (1 + i64::from(self.path.quotes))
    }

    /// Whether all ticks of the minute are past.
    pub(super) fn is_over(&self) -> bool {
        self.next >= self.slots()
    }

    /// Ticks of the minute until `now`, that one included.
    pub(super) fn position_after(&self, now: Timestamp) -> i64 {
        let slots = self.slots();
        let (mut known, mut beyond) = (0, slots);
        while known < beyond {
            let middle = known + (beyond - known) / 2;
            if self.time(middle, slots) <= now { known = middle + 1 } else { beyond = middle }
        }
        known
    }
}
