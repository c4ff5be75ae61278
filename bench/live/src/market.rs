//! The market of the benchmark: as many symbols as wanted, whose prices go up and down by a fixed pattern, so that every
//! run has the same ticks, orders and fills.

use std::io::Write;

use serde_json::json;
use tradeflow_bus::Durability;
use tradeflow_ingest::{Watch, Watchlist};
use tradeflow_live::commands::WireStrategy;
use tradeflow_live::{AccountPlan, SessionPlan};
use tradeflow_model::market::SeriesKind;
use tradeflow_model::plan::{CellPlan, RiskLimits, RunPlan, SeriesPlan, VenueSpec};
use tradeflow_model::signal::Size;
use tradeflow_model::time::NANOS_PER_SEC;
use tradeflow_model::{
    AccountId, AccountKind, AccountSpec, AssetClass, Currency, Instrument, InstrumentId, Symbol, Timestamp,
};

/// Decimals of prices and quantities.
pub const SCALES: (u8, u8) = (2, 2);
/// Ticks of a symbol from one low to the next: a position is opened and closed in each.
const CYCLE: u64 = 40;
/// What the price moves with each tick, raw.
const STEP: u64 = 5;
/// The lowest price, raw.
const LOW: u64 = 10_000;
/// The quantity of each trade, raw.
pub const QTY: u64 = 10_000;

/// The price of the tick with this number of a symbol, raw: straight up, straight down. Symbols turn one after the other,
/// not all at once.
pub fn price(index: usize, number: u64) -> u64 {
    let at = (number + 17 * index as u64) % CYCLE;
    LOW + STEP * at.min(CYCLE - at)
}

/// Our symbol with this index.
pub fn symbol(index: usize) -> String {
    format!("B{index:03}USD")
}

/// The vendor's symbol with this index.
pub fn vendor_symbol(index: usize) -> String {
    format!("B{index:03}USDT")
}

fn instrument(index: usize) -> anyhow::Result<Instrument> {
    let (usd, coin) = (Currency::new("USD")?, Currency::new("BTC")?);
    Ok(Instrument::new(Symbol::new(symbol(index))?, AssetClass::CryptoSpot, coin, usd, SCALES.0, SCALES.1)?)
}

/// All symbols, with their trades.
pub fn watchlist(symbols: usize) -> anyhow::Result<Watchlist> {
    let watch = |index| {
        let (instrument, vendor_symbol) = (instrument(index)?, vendor_symbol(index));
        Ok(Watch { instrument, vendor_symbol, trades: true, quotes: false })
    };
    Ok(Watchlist { watches: (0..symbols).map(watch).collect::<anyhow::Result<_>>()? })
}

/// A session: each cell follows the symbol of its number (modulo) with a `tick_momentum` on its trades.
pub fn plan(
    symbols: usize,
    cells: usize,
    durability: Durability,
    now: Timestamp,
) -> anyhow::Result<SessionPlan> {
    let instruments = (0..symbols).map(instrument).collect::<anyhow::Result<Vec<_>>>()?;
    let mut series = Vec::new();
    for kind in [SeriesKind::SessionOpens, SeriesKind::Trades, SeriesKind::SessionCloses] {
        for index in 0..symbols {
            let instrument = InstrumentId(index as u32);
            series.push(SeriesPlan { instrument, kind, start: now, files: Vec::new() });
        }
    }
    let cell = |index: usize| {
        Ok(CellPlan {
            account: AccountSpec {
                id: AccountId::new(format!("paper-{index}"))?,
                kind: AccountKind::Cash,
                currency: Currency::new("USD")?,
                balance: 1_000_000_000.into(),
            },
            strategies: Vec::new(),
            risk: RiskLimits::default(),
            venue: VenueSpec::default(),
            equity_interval_ns: 60 * NANOS_PER_SEC,
            containment: Some(Default::default()),
        })
    };
    let run = RunPlan {
        cells: (0..cells).map(cell).collect::<anyhow::Result<_>>()?,
        instruments,
        series,
        from: now,
        to: Timestamp::MAX,
        batch_rows: 4096,
        window_batches: 4,
        seed: 1,
    };
    let follows = |cell: usize| InstrumentId((cell % symbols) as u32);
    let accounts = (0..cells)
        .map(|cell| AccountPlan { instruments: vec![follows(cell)], ..AccountPlan::default() })
        .collect();
    let mut plan = SessionPlan::new(run, accounts, durability, now);
    for cell in 0..cells {
        let params = json!({"lookback": 5, "threshold_bps": 0, "direction": "long"});
        let strategy = WireStrategy {
            id: "momentum".into(),
            kind: "tick_momentum".into(),
            params: params.as_object().cloned().unwrap_or_default(),
            symbols: vec![symbol(cell % symbols)],
            data: "trades".into(),
            size: Size::Quantity(1.into()),
        };
        let strategy = strategy
            .plan(&plan, &[follows(cell)])
            .map_err(|answer| anyhow::anyhow!("the strategy: {answer:?}"))?;
        plan.accounts[cell].strategies.push(strategy);
    }
    Ok(plan)
}

/// Appends the WebSocket message of a trade, as Binance's combined stream has it.
pub fn frame(index: usize, number: u64, millis: i64, into: &mut Vec<u8>) {
    let start = into.len();
    // A head for texts of 126 to 65,535 bytes; the length is known afterwards.
    into.extend_from_slice(&[0x81, 126, 0, 0]);
    let (price, id) = (price(index, number), number + 1);
    let side = number.is_multiple_of(2);
    // Writing to a vector can't fail.
    let _ = write!(
        into,
        r#"{{"stream":"b{index:03}usdt@trade","data":{{"e":"trade","E":{millis},"s":"B{index:03}USDT","t":{id},"p":"{}.{:02}","q":"{}.{:02}","T":{millis},"m":{side},"M":true}}}}"#,
        price / 100,
        price % 100,
        QTY / 100,
        QTY % 100,
    );
    let length = (into.len() - start - 4) as u16;
    into[start + 2..start + 4].copy_from_slice(&length.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use tradeflow_ingest::binance::wire::{Frame, parse};

    #[test]
    fn frames_are_the_vendors() {
        let mut bytes = Vec::new();
        frame(80, 41, 1_700_000_000_123, &mut bytes);
        let length = usize::from(u16::from_be_bytes([bytes[2], bytes[3]]));
        assert_eq!(length, bytes.len() - 4);
        let Ok(Frame::Trade(trade)) = parse(std::str::from_utf8(&bytes[4..]).unwrap()) else {
            panic!("{bytes:?}")
        };
        assert_eq!((trade.symbol, trade.id), ("B080USDT", 42));
        assert_eq!((trade.price, trade.qty), ("100.05".parse().unwrap(), 100.into()));
    }
}
