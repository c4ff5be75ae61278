//! What a seed trades: instruments, accounts, limits, strategies.

use std::sync::Arc;

use serde_json::json;
use tradeflow_bus::Durability;
use tradeflow_live::commands::WireStrategy;
use tradeflow_live::{AccountPlan, SessionPlan};
use tradeflow_model::calendar::Calendar;
use tradeflow_model::market::{PriceType, SeriesKind};
use tradeflow_model::plan::{
    CellPlan, Containment, LimitFill, RiskLimits, RunPlan, SeriesPlan, Slippage, VenueSpec,
};
use tradeflow_model::signal::Size;
use tradeflow_model::time::NANOS_PER_SEC;
use tradeflow_model::{
    AccountId, AccountKind, AccountSpec, AssetClass, Currency, Instrument, InstrumentId, Interval, Symbol,
    Timestamp,
};

use crate::dice::Dice;

/// Symbols, what they are, where their prices begin, and what comes of them: quotes, trades.
pub const MARKETS: [(&str, AssetClass, i64, bool, bool); 3] = [
    ("BTCUSD", AssetClass::CryptoSpot, 5_000_000, false, true),
    ("AAPL", AssetClass::Equity, 18_000, true, true),
    ("EURUSD", AssetClass::FxPair, 10_850, true, false),
];

/// Decimals of prices and quantities.
pub const SCALES: (u8, u8) = (2, 3);

/// The instruments that each account follows, and whether it trades on margin.
const ACCOUNTS: [(&[u32], bool); 4] = [(&[0], false), (&[0, 1], true), (&[1, 2], true), (&[1], false)];

/// Seconds of a bar.
pub const BAR_SECS: i64 = 10;

/// The bars of an instrument are made of trades, or of quotes where there are none.
pub fn bars_of(market: usize) -> SeriesKind {
    let interval: Interval = format!("{BAR_SECS}s").parse().expect("ten seconds divide a minute");
    let price_type = if MARKETS[market].4 { PriceType::Last } else { PriceType::Mid };
    SeriesKind::Bars { interval, price_type }
}

/// Instants around which something opens or closes.
const STARTS: [&str; 5] = [
    "2024-03-01T23:56:00Z",
    "2024-03-05T14:25:00Z",
    "2024-03-05T20:55:00Z",
    "2024-03-08T21:54:00Z",
    "2024-03-10T03:00:00Z",
];

/// When a seed begins.
pub fn start(dice: &mut Dice) -> Timestamp {
    let from: Timestamp = dice.pick(&STARTS).parse().expect("a time");
    from.saturating_add(dice.between(0, 120) * NANOS_PER_SEC)
}

/// The plan of a seed.
pub fn plan(dice: &mut Dice, from: Timestamp, panic: u64) -> SessionPlan {
    let usd = Currency::new("USD").expect("a currency");
    let instruments: Vec<Instrument> = MARKETS
        .iter()
        .map(|(symbol, class, ..)| {
            let base = Currency::new(&symbol[..3]).expect("a currency");
            let symbol = Symbol::new(*symbol).expect("a symbol");
            let mut instrument = Instrument::new(symbol, *class, base, usd.clone(), SCALES.0, SCALES.1)
                .expect("an instrument");
            instrument.fees.taker_bps = 5.into();
            if dice.chance(300) {
                instrument.calendar = *dice.pick(&[Calendar::AlwaysOpen, Calendar::FxWeek, Calendar::Nyse]);
            }
            instrument
        })
        .collect();
    let mut series = Vec::new();
    for (index, (_, _, _, quotes, trades)) in MARKETS.iter().enumerate() {
        let mut kinds = vec![SeriesKind::SessionOpens, bars_of(index), SeriesKind::SessionCloses];
        kinds.extend(quotes.then_some(SeriesKind::Quotes));
        kinds.extend(trades.then_some(SeriesKind::Trades));
        let instrument = InstrumentId(index as u32);
        series.extend(kinds.into_iter().map(|kind| SeriesPlan {
            instrument,
            kind,
            start: from,
            files: Vec::new(),
        }));
    }
    series.sort_by_key(|series| (series.kind.rank(), series.instrument));
    let mut cells = Vec::new();
    for (index, (_, margin)) in ACCOUNTS.iter().enumerate() {
        let venue = VenueSpec {
            volume_share_max: dice.chance(700).then(|| rust_decimal::Decimal::new(2, 1)),
            limit_fill: *dice.pick(&[LimitFill::Through, LimitFill::Touch]),
            refused_share: dice.chance(300).then(|| rust_decimal::Decimal::new(dice.between(1, 30), 2)),
            slippage: if dice.chance(300) { Slippage::Bps(2.into()) } else { Slippage::None },
            ..VenueSpec::default()
        };
        let risk = RiskLimits {
            open_orders_max: Some(12),
            price_collar_bps: dice.chance(300).then_some(500),
            drawdown_max_pct: dice.chance(300).then(|| 20.into()),
            ..RiskLimits::default()
        };
        cells.push(CellPlan {
            account: AccountSpec {
                id: AccountId::new(format!("paper-{index}")).expect("an account"),
                kind: if *margin { AccountKind::Margin { leverage: 3.into() } } else { AccountKind::Cash },
                currency: usd.clone(),
                balance: 1_000_000.into(),
            },
            strategies: Vec::new(),
            risk,
            venue,
            equity_interval_ns: 5 * NANOS_PER_SEC,
            containment: Some(Containment { failures_max: 3, close_positions: dice.chance(500) }),
        });
    }
    let run = RunPlan {
        instruments,
        series,
        from,
        to: Timestamp::MAX,
        batch_rows: 4096,
        window_batches: 4,
        seed: 1,
        cells,
    };
    let accounts = ACCOUNTS.iter().map(|(follows, _)| AccountPlan {
        instruments: follows.iter().map(|index| InstrumentId(*index)).collect(),
        ..AccountPlan::default()
    });
    let durability = if dice.chance(500) { Durability::Power } else { Durability::Process };
    let mut plan = SessionPlan::new(run, accounts.collect(), durability, from);
    for (account, (follows, _)) in ACCOUNTS.iter().enumerate() {
        for number in 0..=dice.below(2) {
            let market = follows[number as usize % follows.len()] as usize;
            let wire = strategy(dice, market, &format!("s{number}"), panic);
            let built = wire.plan(&plan, &[InstrumentId(market as u32)]).expect("a strategy of this session");
            plan.accounts[account].strategies.push(built);
        }
    }
    plan
}

/// Some strategy on a market.
pub fn strategy(dice: &mut Dice, market: usize, id: &str, panic: u64) -> WireStrategy {
    let (symbol, _, _, quotes, trades) = MARKETS[market];
    let ticks = if trades && (!quotes || dice.chance(500)) { "trades" } else { "quotes" };
    let bars = format!("{BAR_SECS}s");
    let (kind, params, data) = match dice.below(6) {
        0 => ("sma_cross", json!({"fast": 1, "slow": dice.between(2, 4)}), bars.as_str()),
        1 => ("rsi_reversion", json!({"length": 2}), bars.as_str()),
        2 => (
            "tick_momentum",
            json!({"lookback": dice.between(1, 6), "threshold_bps": dice.between(0, 4)}),
            ticks,
        ),
        _ => {
            let params =
                json!({"seed": dice.below(1_000_000), "panic": panic, "qty": dice.between(1, 4) * 50});
            ("simulated_trader", params, if dice.chance(150) { bars.as_str() } else { ticks })
        }
    };
    WireStrategy {
        id: id.into(),
        kind: kind.into(),
        params: params.as_object().cloned().unwrap_or_default(),
        symbols: vec![symbol.into()],
        data: data.into(),
        size: *dice.pick(&[Size::PercentOfEquity(20.into()), Size::Notional(5_000.into())]),
    }
}

/// The plan, shared.
pub fn shared(dice: &mut Dice, from: Timestamp, panic: u64) -> Arc<SessionPlan> {
    Arc::new(plan(dice, from, panic))
}
