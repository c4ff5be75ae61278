//! Frames of trades as the local server sends them.

use std::collections::BTreeMap;
use std::fmt::Write;

use rust_decimal::Decimal;
use tradeflow_model::{AssetClass, Instrument, Symbol, Timestamp};

use crate::vendor::{Tick, TickKind};

/// The most trades in a frame.
const TRADES_MAX: usize = 50;

/// What a connection is subscribed to.
#[derive(Debug, Default)]
pub struct Frames {
    subscribed: BTreeMap<Symbol, Subscribed>,
}

#[derive(Debug)]
struct Subscribed {
    /// The vendor's symbol as a JSON string.
    name: String,
    /// Stocks have condition codes.
    stock: Option<Instrument>,
}

impl Frames {
    /// Subscribes, if there are not `max` already; twice is once.
    pub fn add(&mut self, vendor_symbol: &str, instrument: &Instrument, max: usize) -> bool {
        if self.subscribed.contains_key(&instrument.symbol) {
            return true;
        }
        if self.subscribed.len() >= max {
            return false;
        }
        let subscribed = Subscribed {
            name: serde_json::json!(vendor_symbol).to_string(),
            stock: (instrument.class == AssetClass::Equity).then(|| instrument.clone()),
        };
        self.subscribed.insert(instrument.symbol.clone(), subscribed);
        true
    }

    /// Unsubscribes.
    pub fn remove(&mut self, instrument: &Instrument) {
        self.subscribed.remove(&instrument.symbol);
    }

    /// The frames for the trades of a burst, each with the time of its last trade.
    pub fn of(&self, burst: &[Tick]) -> Vec<(Timestamp, String)> {
        let mut frames = Vec::new();
        let mut frame = String::new();
        let (mut count, mut last) = (0, Timestamp::MIN);
        for tick in burst {
            let TickKind::Trade { price, qty, .. } = tick.kind else { continue };
            let Some(subscribed) = self.subscribed.get(&tick.symbol) else { continue };
            frame.push_str(if count == 0 { r#"{"data":["# } else { "," });
            subscribed.write(&mut frame, tick.ts_event, price, qty);
            (count, last) = (count + 1, tick.ts_event);
            if count == TRADES_MAX {
                frames.push((last, ended(&mut frame)));
                count = 0;
            }
        }
        if count > 0 {
            frames.push((last, ended(&mut frame)));
        }
        frames
    }
}

fn ended(frame: &mut String) -> String {
    frame.push_str(r#"],"type":"trade"}"#);
    std::mem::take(frame)
}

impl Subscribed {
    fn write(&self, frame: &mut String, ts_event: Timestamp, price: Decimal, qty: Decimal) {
        let codes = match &self.stock {
            None => "null",
            Some(stock) => {
                let odd = qty < Decimal::ONE_HUNDRED && !qty.is_zero();
                match (odd, stock.calendar.is_open(ts_event)) {
                    (false, true) => r#"["1"]"#,
                    (true, true) => r#"["1","12"]"#,
                    (false, false) => r#"["1","24"]"#,
                    (true, false) => r#"["1","24","12"]"#,
                }
            }
        };
        let (p, v) = (price.normalize(), qty.normalize());
        let (s, t) = (&self.name, ts_event.as_nanos().div_euclid(1_000_000));
        // Writing to a string can't fail.
        let _ = write!(frame, r#"{{"c":{codes},"p":{p},"s":{s},"t":{t},"v":{v}}}"#);
    }
}
