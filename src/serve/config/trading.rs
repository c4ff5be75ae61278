//! The sections that say what is traded: `[[instruments]]` and `[[accounts]]`.

use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tradeflow_backtest::config::{DEFAULT_ACCOUNT, fees};
use tradeflow_model::calendar::Calendar;
use tradeflow_model::market::PriceType;
use tradeflow_model::plan::{Containment, RiskLimits, VenueSpec};
use tradeflow_model::{AccountId, AccountKind, AssetClass, Currency, FeeSchedule, Interval, Symbol};

use super::values::{
    Balance, Data, Fee, FeeBps, Leverage, Limits, MakerBps, Percent, Period, Share, Sized, Slips, Text,
    Whole, default,
};

/// An instrument: what it is, and where its live data comes from. One that the catalog defines needs its symbol alone;
/// of another, class, scales, base and quote must be given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InstrumentSection {
    /// Its symbol, unique.
    #[schemars(with = "String")]
    pub symbol: Symbol,
    /// `equity`, `fx-pair`, `crypto-spot`, `perpetual` or `future`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub class: Option<AssetClass>,
    /// Decimals of its prices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_scale: Option<Text<Whole<0, 9>>>,
    /// Decimals of its quantities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_scale: Option<Text<Whole<0, 9>>>,
    /// What is bought (`BTC`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub base: Option<Currency>,
    /// What the price is in (`USD`). Profit and loss are paid in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub quote: Option<Currency>,
    /// When it trades: `24x7`, `fx`, `xnys` or `cme`. Without it, as is usual for the class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub calendar: Option<Calendar>,
    /// What trading it costs, where an account's venue does not say. Without it, as in the catalog, or nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fees: Option<FeesSection>,
    /// `binance`, `finnhub` or `yahoo`. Without it nothing is subscribed here: its data is put on the bus by another node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub feed: Option<FeedName>,
    /// What the vendor calls it (`BTCUSDT`, `BINANCE:BTCUSDT`, `BTC-USD`). Without it, the symbol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feed_symbol: Option<String>,
    /// Whether its trades are followed. Without it: yes, except with `yahoo`, which has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trades: Option<bool>,
    /// Whether its quotes are followed; only `binance` has them. Without it: no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quotes: Option<bool>,
    /// Bars that are made live of its trades; where quotes are all that is followed, of the middle between bid and ask.
    /// Without it: `["1m"]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<String>>")]
    pub bars: Option<Vec<Interval>>,
}

/// A vendor's feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FeedName {
    /// Binance.
    Binance,
    /// Finnhub.
    Finnhub,
    /// Yahoo.
    Yahoo,
}

impl InstrumentSection {
    /// One of which everything else is known or usual.
    pub fn new(symbol: Symbol) -> Self {
        Self {
            symbol,
            class: None,
            price_scale: None,
            size_scale: None,
            base: None,
            quote: None,
            calendar: None,
            fees: None,
            feed: None,
            feed_symbol: None,
            trades: None,
            quotes: None,
            bars: None,
        }
    }

    /// Whether its trades are followed.
    pub fn follows_trades(&self) -> bool {
        self.trades.unwrap_or(self.feed != Some(FeedName::Yahoo))
    }

    /// Whether its quotes are followed.
    pub fn follows_quotes(&self) -> bool {
        self.quotes.unwrap_or(false)
    }

    /// The bars that are made, and of which price.
    pub fn made_bars(&self) -> (Vec<Interval>, PriceType) {
        let (of_trades, of_quotes) = (self.follows_trades(), self.follows_quotes());
        let usual = if of_trades || of_quotes { vec![Interval::MINUTE] } else { Vec::new() };
        let price = if of_trades { PriceType::Last } else { PriceType::Mid };
        (self.bars.clone().unwrap_or(usual), price)
    }

    /// What the vendor calls it.
    pub fn vendor_symbol(&self) -> String {
        self.feed_symbol.clone().unwrap_or_else(|| self.symbol.to_string())
    }
}

/// Fees of fills.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FeesSection {
    /// For fills that take liquidity, in basis points of their value. Without it: 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub taker_bps: Option<Text<FeeBps>>,
    /// For fills that make liquidity, in basis points of their value; a rebate is below zero. Without it: as takers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maker_bps: Option<Text<MakerBps>>,
    /// For each unit (a share, a contract), in the settlement currency. Without it: 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_unit: Option<Text<Fee>>,
    /// The least that a fill with any fee costs. Without it: 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum: Option<Text<Fee>>,
}

impl FeesSection {
    /// The schedule.
    pub fn get(&self) -> FeeSchedule {
        let (taker, maker) = (self.taker_bps.as_ref(), self.maker_bps.as_ref());
        let (per_unit, minimum) = (self.per_unit.as_ref(), self.minimum.as_ref());
        let given =
            [taker.map(Text::get), maker.map(Text::get), per_unit.map(Text::get), minimum.map(Text::get)];
        fees(None, given[0], given[1], given[2], given[3]).unwrap_or_default()
    }
}

/// An account that trades on paper.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AccountSection {
    /// Its name, unique.
    #[schemars(with = "String")]
    pub id: AccountId,
    /// `cash` (pays in full, is never short) or `margin`.
    #[schemars(with = "String")]
    pub kind: KindName,
    /// Of a margin account: position value over equity that an opening order may reach. Without it: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leverage: Option<Text<Leverage>>,
    /// Its currency. Without it: what its first symbol settles in.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub currency: Option<Currency>,
    /// Its balance when it begins. An account that is there already goes on with what it has.
    pub balance: Text<Balance>,
    /// What it follows and may trade. Without it: all instruments.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<String>>")]
    pub symbols: Option<Vec<Symbol>>,
    /// Limits of its risk gate.
    pub risk: RiskSection,
    /// How the simulated venue fills its orders.
    pub venue: VenueSection,
    /// What happens to a strategy that fails.
    pub containment: ContainmentSection,
    /// Its strategies. An account without any is traded by hand.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub strategies: Vec<StrategySection>,
}

impl Default for AccountSection {
    fn default() -> Self {
        Self {
            id: AccountId::new(DEFAULT_ACCOUNT).expect("a constant name"),
            kind: KindName::Margin,
            leverage: None,
            currency: None,
            balance: default("100000"),
            symbols: None,
            risk: RiskSection::default(),
            venue: VenueSection::default(),
            containment: ContainmentSection::default(),
            strategies: Vec::new(),
        }
    }
}

/// The kind of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KindName {
    /// Pays in full.
    Cash,
    /// Trades on margin.
    Margin,
}

impl AccountSection {
    /// Cash or margin, with its leverage.
    pub fn account_kind(&self) -> AccountKind {
        match self.kind {
            KindName::Cash => AccountKind::Cash,
            KindName::Margin => {
                AccountKind::Margin { leverage: self.leverage.as_ref().map_or(Decimal::ONE, Text::get) }
            }
        }
    }
}

/// Limits of the risk gate. What is not given is not limited.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RiskSection {
    /// Largest value of one order, in the account's currency.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_notional_max: Option<Text<Balance>>,
    /// Largest value of the position in one instrument, in the account's currency.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position_notional_max: Option<Text<Balance>>,
    /// Most orders open at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_orders_max: Option<Text<Whole<1, 1_000_000>>>,
    /// Farthest a limit may lie beyond the last price, in basis points.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price_collar_bps: Option<Text<Whole<1, 10_000>>>,
    /// Loss since the session opened, in percent of equity then, after which only orders that reduce pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub daily_loss_max_pct: Option<Text<Percent>>,
    /// Loss from the highest equity, in percent, after which only orders that reduce pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drawdown_max_pct: Option<Text<Percent>>,
}

impl RiskSection {
    /// The limits.
    pub fn get(&self) -> RiskLimits {
        RiskLimits {
            order_notional_max: self.order_notional_max.as_ref().map(Text::get),
            position_notional_max: self.position_notional_max.as_ref().map(Text::get),
            open_orders_max: self.open_orders_max.as_ref().map(|max| max.get() as u32),
            price_collar_bps: self.price_collar_bps.as_ref().map(|max| max.get() as u32),
            daily_loss_max_pct: self.daily_loss_max_pct.as_ref().map(Text::get),
            drawdown_max_pct: self.drawdown_max_pct.as_ref().map(Text::get),
        }
    }
}

/// How the simulated venue fills orders. The defaults are the honest ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct VenueSection {
    /// Largest share of a trade's or bar's volume that fills one order.
    pub volume_share_max: Text<Share>,
    /// Whether a resting limit fills when the price trades through it, or as soon as it is touched.
    pub limit_fill: Text<Limits>,
    /// How far fills that take liquidity are worse than the price seen. With quotes the spread is paid all the same.
    pub slippage: Text<Slips>,
    /// Fees instead of the instruments' own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fees: Option<FeesSection>,
    /// A price older than this does not fill. (Bars fill by their own open.)
    pub stale_after: Period,
    /// Share of orders that the venue refuses at random, as one that is down or overloaded does: to see what a strategy
    /// makes of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused_share: Option<Text<Share>>,
}

impl Default for VenueSection {
    fn default() -> Self {
        Self {
            volume_share_max: default("0.1"),
            limit_fill: default("through"),
            slippage: default("none"),
            fees: None,
            stale_after: default("1m"),
            refused_share: None,
        }
    }
}

impl VenueSection {
    /// The venue.
    pub fn get(&self) -> VenueSpec {
        VenueSpec {
            volume_share_max: Some(self.volume_share_max.get()),
            limit_fill: self.limit_fill.get(),
            slippage: self.slippage.get(),
            fees: self.fees.as_ref().map(FeesSection::get),
            stale_after_ns: Some(self.stale_after.get().as_nanos() as i64),
            refused_share: self.refused_share.as_ref().map(Text::get),
        }
    }
}

/// A strategy that fails begins anew from its parameters, with its orders cancelled; one that fails again and again is
/// stopped for good.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ContainmentSection {
    /// Failures after which it is stopped.
    pub failures_max: Text<Whole<1, 1_000>>,
    /// Whether its positions are closed then; otherwise they are left as they are.
    pub close_positions: bool,
}

impl Default for ContainmentSection {
    fn default() -> Self {
        let usual = Containment::default();
        Self {
            failures_max: default(&usual.failures_max.to_string()),
            close_positions: usual.close_positions,
        }
    }
}

impl ContainmentSection {
    /// The rule.
    pub fn get(&self) -> Containment {
        Containment { failures_max: self.failures_max.get() as u32, close_positions: self.close_positions }
    }
}

/// A strategy that starts with the session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StrategySection {
    /// Its kind; `tradeflow strategies` lists all, with their parameters.
    pub kind: String,
    /// Its name, unique within the account. Without it: the kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Its parameters. Those not given have their defaults.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[schemars(with = "std::collections::BTreeMap<String, Value>")]
    pub params: Map<String, Value>,
    /// Its symbols, in the order in which the kind takes them. Without it: the account's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<String>>")]
    pub symbols: Option<Vec<Symbol>>,
    /// What it decides on.
    #[serde(default = "one_minute")]
    pub data: Text<Data>,
    /// Size of its positions.
    #[serde(default = "all_of_it")]
    pub size: Text<Sized>,
}

fn one_minute() -> Text<Data> {
    default("1m")
}

fn all_of_it() -> Text<Sized> {
    default("100%")
}

impl StrategySection {
    /// One of this kind, with defaults.
    pub fn new(kind: &str) -> Self {
        Self {
            kind: kind.to_owned(),
            id: None,
            params: Map::new(),
            symbols: None,
            data: one_minute(),
            size: all_of_it(),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.id.as_deref().unwrap_or(&self.kind)
    }
}
