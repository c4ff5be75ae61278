//! The instrument of an import: as the catalog has it, else as symbol, layout, data and flags suggest.

use rust_decimal::Decimal;
use tradeflow_model::calendar::Calendar;
use tradeflow_model::fixed::{self, MAX_SCALE, pow10};
use tradeflow_model::{AssetClass, Currency, Instrument, Price, Qty, Symbol, Timestamp, ValueError};

use super::error::ImportError;
use super::layout::Layout;
use super::number::RAW_MAX;
use super::stage::Scales;

/// What the user says about an instrument that the catalog does not have yet. What is `None` is inferred.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InstrumentOptions {
    /// The class.
    pub class: Option<AssetClass>,
    /// The base currency or name.
    pub base: Option<Currency>,
    /// The quote currency.
    pub quote: Option<Currency>,
    /// Decimals of prices.
    pub price_scale: Option<u8>,
    /// Decimals of quantities.
    pub size_scale: Option<u8>,
    /// The tick.
    pub tick: Option<Decimal>,
    /// The lot.
    pub lot: Option<Decimal>,
    /// Units of the base in one unit of quantity.
    pub multiplier: Option<Decimal>,
    /// The calendar.
    pub calendar: Option<Calendar>,
    /// Last instant of trading of a future.
    pub expiry: Option<Timestamp>,
}

/// An instrument while its data is being read.
pub(super) struct Subject {
    pub(super) symbol: Symbol,
    pub(super) existing: Option<Instrument>,
    pub(super) class: AssetClass,
    pub(super) calendar: Calendar,
    base: Currency,
    quote: Currency,
    /// Decimals that the values read so far need (all that there are, where the catalog has the instrument).
    pub(super) scales: Scales,
    /// Largest price and size so far, in whole units (rounded up).
    pub(super) price_max: i64,
    pub(super) size_max: i64,
    class_from: &'static str,
}

/// ISO 4217 codes of currencies that are traded in pairs, and the metals that are traded like them.
const CURRENCIES: [&str; 36] = [
    "USD", "EUR", "JPY", "GBP", "CHF", "AUD", "CAD", "NZD", "SEK", "NOK", "DKK", "PLN", "CZK", "HUF", "RON",
    "TRY", "ZAR", "ILS", "MXN", "BRL", "CLP", "CNY", "CNH", "HKD", "SGD", "KRW", "TWD", "THB", "INR", "IDR",
    "RUB", "XAU", "XAG", "XPT", "XPD", "SAR",
];
/// Coins in which coins are priced; longer codes first, so that `USDT` is not read as `…S` and `DT`.
const COIN_QUOTES: [&str; 8] = ["USDT", "USDC", "BUSD", "TUSD", "FDUSD", "DAI", "BTC", "ETH"];
/// Coins that are often seen priced in a currency.
const COINS: [&str; 30] = [
    "BTC", "XBT", "ETH", "XRP", "LTC", "BCH", "ADA", "SOL", "DOGE", "DOT", "BNB", "TRX", "AVAX", "LINK",
    "MATIC", "XMR", "ETC", "XLM", "ATOM", "UNI", "DASH", "ZEC", "EOS", "NEO", "IOTA", "SHIB", "NEAR", "ALGO",
    "APT", "TON",
];

/// Multiplier and tick of equity-index futures on Globex, by root, from CME Group's contract specifications.
const FUTURES: [(&str, i64, &str); 8] = [
    ("ES", 50, "0.25"),
    ("MES", 5, "0.25"),
    ("NQ", 20, "0.25"),
    ("MNQ", 2, "0.25"),
    ("YM", 5, "1"),
    ("RTY", 50, "0.1"),
    ("M2K", 5, "0.1"),
    ("MYM", 0, "1"), // its multiplier is half a dollar: see `future_facts`
];

fn future_facts(root: &str) -> Option<(Decimal, Decimal)> {
    let (_, multiplier, tick) = FUTURES.iter().find(|(name, _, _)| *name == root)?;
    let multiplier = if *multiplier == 0 { Decimal::new(5, 1) } else { Decimal::from(*multiplier) };
    Some((multiplier, tick.parse().ok()?))
}

/// Class, base and quote that a symbol suggests.
fn guess(symbol: &str) -> Option<(AssetClass, String, String)> {
    let upper = symbol.to_ascii_uppercase();
    let (body, perpetual) = match upper.strip_suffix("PERP").or_else(|| upper.strip_suffix("SWAP")) {
        Some(body) => (body.to_owned(), true),
        None => (upper.trim_end_matches("=X").to_owned(), false),
    };
    let letters: String = body.chars().filter(char::is_ascii_alphanumeric).collect();
    if perpetual && COINS.contains(&letters.as_str()) {
        return Some((AssetClass::Perpetual, letters, "USD".to_owned()));
    }
    let quotes = COIN_QUOTES.iter().chain(CURRENCIES.iter());
    let (base, quote) = quotes
        .filter_map(|quote| letters.strip_suffix(quote).map(|base| (base, *quote)))
        .find(|(base, quote)| {
            CURRENCIES.contains(base)
                || COINS.contains(base)
                || (base.len() >= 2 && COIN_QUOTES[..6].contains(quote))
        })?;
    let class = match (perpetual, CURRENCIES.contains(&base) && CURRENCIES.contains(&quote)) {
        (true, _) => AssetClass::Perpetual,
        (false, true) => AssetClass::FxPair,
        (false, false) => AssetClass::CryptoSpot,
    };
    Some((class, base.to_owned(), quote.to_owned()))
}

/// The class that a symbol suggests: an equity where nothing says otherwise.
pub fn class_of(symbol: &Symbol) -> AssetClass {
    guess(symbol.as_str()).map_or(AssetClass::Equity, |(class, _, _)| class)
}

/// The symbol's letters and digits as far as they fit a code.
fn code_of(symbol: &str) -> String {
    let upper = symbol.to_ascii_uppercase();
    upper.chars().filter(char::is_ascii_alphanumeric).take(12).collect()
}

impl Subject {
    pub(super) fn new(
        symbol: Symbol,
        existing: Option<Instrument>,
        layout: &Layout,
        options: &InstrumentOptions,
    ) -> Result<Self, ImportError> {
        if let Some(known) = existing {
            return Ok(Self {
                class: known.class,
                calendar: known.calendar,
                base: known.base.clone(),
                quote: known.quote.clone(),
                scales: Scales { price: known.price_scale, size: known.size_scale },
                price_max: 0,
                size_max: 0,
                class_from: "",
                symbol,
                existing: Some(known),
            });
        }
        let guessed = guess(symbol.as_str());
        let (class, class_from) = match (options.class, layout.class, &guessed) {
            (Some(class), _, _) => (class, ""),
            (None, Some(class), _) => (class, "the layout"),
            (None, None, Some((class, _, _))) => (*class, "the symbol"),
            (None, None, None) => (AssetClass::Equity, "nothing that says otherwise"),
        };
        let root = symbol.as_str().split(['-', '.']).next().unwrap_or_default();
        let (base, quote) = match (class, guessed) {
            (AssetClass::Equity, _) | (_, None) => (code_of(root), "USD".to_owned()),
            (AssetClass::Future, _) => (code_of(root), "USD".to_owned()),
            (_, Some((_, base, quote))) => (base, quote),
        };
        let base = match &options.base {
            Some(base) => base.clone(),
            None => Currency::new(base)?,
        };
        let quote = match &options.quote {
            Some(quote) => quote.clone(),
            None => Currency::new(quote)?,
        };
        let draft = Instrument::new(symbol.clone(), class, base.clone(), quote.clone(), 0, 0)?;
        let calendar = options.calendar.unwrap_or(draft.calendar);
        Ok(Self {
            symbol,
            existing: None,
            class,
            calendar,
            base,
            quote,
            scales: Scales::default(),
            price_max: 0,
            size_max: 0,
            class_from,
        })
    }

    /// Notes the magnitude of a price and a size, which are at the current scales.
    pub(super) fn measure(&mut self, price: i64, size: i64) {
        self.price_max = self.price_max.max(price.saturating_abs() / pow10(self.scales.price) + 1);
        self.size_max = self.size_max.max(size.saturating_abs() / pow10(self.scales.size) + 1);
    }

    /// The decimals that an instrument of this class has at least, so that data to come, and orders, fit too.
    fn least_scales(&self) -> Scales {
        match self.class {
            AssetClass::Equity => Scales { price: 4, size: 0 },
            AssetClass::FxPair if self.quote.code() == "JPY" => Scales { price: 3, size: 0 },
            AssetClass::FxPair => Scales { price: 5, size: 0 },
            AssetClass::CryptoSpot => Scales { price: 8, size: 8 },
            AssetClass::Perpetual => Scales { price: 2, size: 3 },
            AssetClass::Future => Scales { price: 2, size: 0 },
        }
    }

    /// The instrument, when all data has been read, and what was assumed about it.
    pub(super) fn finish(
        &self,
        options: &InstrumentOptions,
    ) -> Result<(Instrument, Vec<String>), ImportError> {
        if let Some(known) = &self.existing {
            let wanted = apply(known.clone(), options)?;
            if wanted == *known {
                return Ok((wanted, Vec::new()));
            }
            return Err(ImportError::Request(format!(
                "{}: the catalog already defines this instrument, and the flags would change it; leave them out, \
                 or import under another symbol (known: {})",
                self.symbol,
                summary(known)
            )));
        }
        let least = self.least_scales();
        let fits = |needed: u8, least: u8, largest: i64| {
            let room =
                |scale: &u8| largest.checked_mul(pow10(*scale)).is_some_and(|raw| raw <= RAW_MAX / 1000);
            // Below the least where the values are too large for it, but never below what the data needs.
            (needed..=least.max(needed)).rev().find(room).unwrap_or(needed)
        };
        let price_scale = options.price_scale.unwrap_or(fits(self.scales.price, least.price, self.price_max));
        let size_scale = options.size_scale.unwrap_or(fits(self.scales.size, least.size, self.size_max));
        for (what, chosen, needed) in
            [("price", price_scale, self.scales.price), ("size", size_scale, self.scales.size)]
        {
            if chosen < needed || chosen > MAX_SCALE {
                return Err(ImportError::Request(format!(
                    "{}: --{what}-scale {chosen} does not do: the data has {what}s with {needed} decimals, and 9 is \
                     the most",
                    self.symbol
                )));
            }
        }
        let mut instrument = Instrument::new(
            self.symbol.clone(),
            self.class,
            self.base.clone(),
            self.quote.clone(),
            price_scale,
            size_scale,
        )?;
        let root = self.symbol.as_str().split('-').next().unwrap_or_default();
        if let Some((multiplier, tick)) = future_facts(root).filter(|_| self.class == AssetClass::Future) {
            instrument.multiplier = multiplier;
            if let Ok(raw) = fixed::from_decimal(tick, price_scale) {
                instrument.price_increment = Price::from_raw(raw);
            }
        }
        let instrument = apply(instrument, options)?;
        let mut assumed = vec![format!("new instrument: {}", summary(&instrument))];
        if !self.class_from.is_empty() {
            assumed[0].push_str(&format!(" (class from {}; set it with --class)", self.class_from));
        }
        Ok((instrument, assumed))
    }
}

fn apply(mut instrument: Instrument, options: &InstrumentOptions) -> Result<Instrument, ValueError> {
    let symbol = instrument.symbol.clone();
    let raw = |field: &str, value: Decimal, scale: u8| {
        fixed::from_decimal(value, scale).map_err(|why| ValueError::new(symbol.as_str(), field, value, why))
    };
    if let Some(class) = options.class {
        instrument.class = class;
    }
    if let Some(base) = &options.base {
        instrument.base = base.clone();
    }
    if let Some(quote) = &options.quote {
        instrument.quote = quote.clone();
        instrument.settlement = quote.clone();
    }
    if let Some(scale) = options.price_scale {
        instrument.price_scale = scale;
    }
    if let Some(scale) = options.size_scale {
        instrument.size_scale = scale;
    }
    if let Some(tick) = options.tick {
        instrument.price_increment = Price::from_raw(raw("tick", tick, instrument.price_scale)?);
    }
    if let Some(lot) = options.lot {
        instrument.size_increment = Qty::from_raw(raw("lot", lot, instrument.size_scale)?);
    }
    if let Some(multiplier) = options.multiplier {
        instrument.multiplier = multiplier;
    }
    if let Some(calendar) = options.calendar {
        instrument.calendar = calendar;
    }
    if let Some(expiry) = options.expiry {
        instrument.expiry = Some(expiry);
    }
    instrument.check()?;
    Ok(instrument)
}

fn summary(instrument: &Instrument) -> String {
    let class = match instrument.class {
        AssetClass::Equity => "equity",
        AssetClass::FxPair => "fx-pair",
        AssetClass::CryptoSpot => "crypto-spot",
        AssetClass::Perpetual => "perpetual",
        AssetClass::Future => "future",
    };
    format!(
        "{class}, base {}, quote {}, {} price decimals (tick {}), {} size decimals (lot {}), multiplier {}, calendar {}",
        instrument.base,
        instrument.quote,
        instrument.price_scale,
        instrument.price_text(instrument.price_increment),
        instrument.size_scale,
        instrument.qty_text(instrument.size_increment),
        instrument.multiplier,
        instrument.calendar,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_suggest_what_they_are() {
        for (symbol, class, base, quote) in [
            ("BTCUSD", AssetClass::CryptoSpot, "BTC", "USD"),
            ("BTC-USD", AssetClass::CryptoSpot, "BTC", "USD"),
            ("ETHBTC", AssetClass::CryptoSpot, "ETH", "BTC"),
            ("PEPEUSDT", AssetClass::CryptoSpot, "PEPE", "USDT"),
            ("EURUSD", AssetClass::FxPair, "EUR", "USD"),
            ("EURUSD=X", AssetClass::FxPair, "EUR", "USD"),
            ("USDJPY", AssetClass::FxPair, "USD", "JPY"),
            ("XAUUSD", AssetClass::FxPair, "XAU", "USD"),
            ("BTC-PERP", AssetClass::Perpetual, "BTC", "USD"),
            ("BTCUSDT-PERP", AssetClass::Perpetual, "BTC", "USDT"),
        ] {
            assert_eq!(guess(symbol), Some((class, base.into(), quote.into())), "{symbol}");
        }
        for equity in ["GOOG", "SPY", "AAPL", "BRK.B", "ETHE", "META", "GBTC"] {
            assert_eq!(guess(equity), None, "{equity}");
        }
    }

    #[test]
    fn a_known_future_has_its_multiplier_and_tick() {
        let mut layout = Layout::new(super::super::layout::RowKind::Bar);
        layout.class = Some(AssetClass::Future);
        let options = InstrumentOptions::default();
        let subject = Subject::new(Symbol::new("ES-201312").unwrap(), None, &layout, &options).unwrap();
        let (es, _) = subject.finish(&options).unwrap();
        assert_eq!(es.price_text(es.price_increment), "0.25");
        assert_eq!(es.multiplier, Decimal::from(50));
        assert_eq!(es.base.code(), "ES");
        assert_eq!(future_facts("MYM").unwrap().0.to_string(), "0.5");
    }

    #[test]
    fn scales_give_way_to_large_values_but_not_to_the_data() {
        let layout = Layout::new(super::super::layout::RowKind::Bar);
        let options = InstrumentOptions::default();
        let mut subject = Subject::new(Symbol::new("SHIBUSDT").unwrap(), None, &layout, &options).unwrap();
        subject.scales = Scales { price: 8, size: 2 };
        subject.size_max = 4_000_000_000_000;
        let (shib, _) = subject.finish(&options).unwrap();
        assert_eq!((shib.price_scale, shib.size_scale), (8, 2));
        let coarse = InstrumentOptions { price_scale: Some(6), ..options };
        assert!(subject.finish(&coarse).unwrap_err().to_string().contains("8 decimals"));
    }
}
