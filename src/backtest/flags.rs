//! From flags to a run's configuration.

use std::fmt::Display;

use tradeflow_backtest::config::parse;
use tradeflow_backtest::config::{
    AccountConfig, DEFAULT_ACCOUNT, DEFAULT_ACCOUNT_KIND, DEFAULT_BALANCE, DEFAULT_SIZE, Given, Place,
    Problems, RunConfig, StrategyConfig, fees,
};
use tradeflow_model::market::PriceType;
use tradeflow_model::plan::{RiskLimits, VenueSpec};
use tradeflow_model::{AccountId, AccountKind, Currency, Interval, Symbol, Timestamp};

use super::Args;

/// The flags that describe a run where there is no file.
#[derive(Debug, clap::Args)]
pub struct What {
    /// Symbol to trade
    #[arg(long, value_name = "NAME", help_heading = "Data and strategy")]
    symbol: Vec<String>,
    /// Interval of the bars (1m, 15m, 4h, 1d), or trades, or quotes [default: 1m]
    #[arg(long, value_name = "INTERVAL", help_heading = "Data and strategy")]
    interval: Option<String>,
    /// What bars are made of: last, bid, ask or mid [default: last]
    #[arg(long, value_name = "TYPE", help_heading = "Data and strategy")]
    price_type: Option<String>,
    /// Strategy: buy_and_hold, sma_cross, ema_cross, rsi_reversion, tick_momentum
    #[arg(long, value_name = "NAME", help_heading = "Data and strategy")]
    strategy: Option<String>,
    /// A parameter of the strategy; `tradeflow strategies` lists them
    #[arg(long = "set", value_name = "NAME=VALUE", help_heading = "Data and strategy")]
    set: Vec<String>,
    /// Size of positions: 100 (units), 5000 USD or $5000 (value), 25% (of equity) [default: 100%]
    #[arg(long, value_name = "SIZE", help_heading = "Data and strategy")]
    size: Option<String>,

    /// Starting balance [default: 100000]
    #[arg(long, value_name = "AMOUNT", allow_hyphen_values = true, help_heading = "Account")]
    cash: Option<String>,
    /// Currency of the account [default: what the instrument settles in]
    #[arg(long, value_name = "CODE", help_heading = "Account")]
    currency: Option<String>,
    /// margin (long and short, up to --leverage) or cash (pays in full, never short) [default: margin]
    #[arg(long, value_name = "KIND", help_heading = "Account")]
    account: Option<String>,
    /// Position value over equity that a margin account may reach [default: 1]
    #[arg(long, value_name = "N", help_heading = "Account")]
    leverage: Option<String>,

    /// How market orders fill on bars: next-open-capped (up to --volume-cap of each bar's volume, from the next open on)
    /// or next-open (whole, at the next open) [default: next-open-capped]
    #[arg(long, value_name = "HOW", help_heading = "Execution")]
    fill: Option<String>,
    /// Largest share of a bar's volume that fills [default: 0.1]
    #[arg(long, value_name = "SHARE", help_heading = "Execution")]
    volume_cap: Option<String>,
    /// When limit orders fill: through (the price trades through them) or touch [default: through]
    #[arg(long, value_name = "WHEN", help_heading = "Execution")]
    limit_fill: Option<String>,
    /// none, 1.5bps, or half of a spread: spread:0.02 [default: none]
    #[arg(long, value_name = "HOW", help_heading = "Execution")]
    slippage: Option<String>,
    /// Share of orders that the venue refuses at random, as one that is overloaded does [default: none]
    #[arg(long, value_name = "SHARE", help_heading = "Execution")]
    refused_share: Option<String>,
    /// Fee in basis points of the value [default: the instrument's own]
    #[arg(long, value_name = "BPS", allow_hyphen_values = true, help_heading = "Execution")]
    fee_bps: Option<String>,
    /// Fee of orders that make liquidity [default: as --fee-bps]
    #[arg(long, value_name = "BPS", allow_hyphen_values = true, help_heading = "Execution")]
    maker_fee_bps: Option<String>,
    /// Fee for each unit (share, contract)
    #[arg(long, value_name = "AMOUNT", allow_hyphen_values = true, help_heading = "Execution")]
    fee_per_unit: Option<String>,
    /// Least fee of a fill
    #[arg(long, value_name = "AMOUNT", allow_hyphen_values = true, help_heading = "Execution")]
    fee_minimum: Option<String>,

    /// Loss since the session's open, in percent, after which only orders that reduce pass
    #[arg(long, value_name = "PERCENT", help_heading = "Risk")]
    daily_loss_max: Option<String>,
    /// Loss from the highest equity, in percent, after which only orders that reduce pass
    #[arg(long, value_name = "PERCENT", help_heading = "Risk")]
    drawdown_max: Option<String>,
    /// Largest value of one order
    #[arg(long, value_name = "AMOUNT", help_heading = "Risk")]
    order_notional_max: Option<String>,
    /// Largest value of the position in an instrument
    #[arg(long, value_name = "AMOUNT", help_heading = "Risk")]
    position_notional_max: Option<String>,
}

impl What {
    /// These flags have no place beside a file, which may hold several accounts.
    ///
    /// # Errors
    /// Names those that were given.
    pub fn refuse_beside_a_file(&self, file: &str) -> Result<(), Problems> {
        let mut problems = Problems::default();
        let single = [
            ("--interval", &self.interval),
            ("--price-type", &self.price_type),
            ("--strategy", &self.strategy),
            ("--size", &self.size),
            ("--cash", &self.cash),
            ("--currency", &self.currency),
            ("--account", &self.account),
            ("--leverage", &self.leverage),
            ("--fill", &self.fill),
            ("--volume-cap", &self.volume_cap),
            ("--limit-fill", &self.limit_fill),
            ("--slippage", &self.slippage),
            ("--refused-share", &self.refused_share),
            ("--fee-bps", &self.fee_bps),
            ("--maker-fee-bps", &self.maker_fee_bps),
            ("--fee-per-unit", &self.fee_per_unit),
            ("--fee-minimum", &self.fee_minimum),
            ("--daily-loss-max", &self.daily_loss_max),
            ("--drawdown-max", &self.drawdown_max),
            ("--order-notional-max", &self.order_notional_max),
            ("--position-notional-max", &self.position_notional_max),
        ];
        let many = [("--symbol", &self.symbol), ("--set", &self.set)];
        let given = single.iter().filter(|(_, value)| value.is_some()).map(|(flag, _)| *flag);
        for flag in given.chain(many.iter().filter(|(_, values)| !values.is_empty()).map(|(flag, _)| *flag)) {
            let place = Place::Flag(flag.to_owned());
            problems
                .add(&place, format!("has no place beside {file}, which describes the run: set it there"));
        }
        problems.finish(Some(()))
    }
}

struct Flags {
    problems: Problems,
}

impl Flags {
    fn given<T, E: Display>(
        &mut self,
        flag: &str,
        text: Option<&String>,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<Given<T>> {
        let place = Place::Flag(flag.to_owned());
        self.problems.check(&place, parse(text?)).map(|value| Given::new(value, place))
    }

    fn plain<T, E: Display>(
        &mut self,
        flag: &str,
        text: &Option<String>,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        self.given(flag, text.as_ref(), parse).map(|given| given.value)
    }
}

/// The run that the flags describe.
///
/// # Errors
/// All that is wrong with them.
pub fn configuration(args: &Args) -> Result<RunConfig, Problems> {
    let what = &args.what;
    let mut flags = Flags { problems: Problems::default() };
    let symbols: Vec<_> = what
        .symbol
        .iter()
        .filter_map(|symbol| flags.given("--symbol", Some(symbol), |text| Symbol::new(text)))
        .collect();
    if what.symbol.is_empty() {
        flags
            .problems
            .add(&Place::Flag("--symbol".into()), "is missing: what to trade, such as --symbol BTCUSD");
    }
    if what.strategy.is_none() {
        let names: Vec<_> = tradeflow_actors::strategy::registry().iter().map(|kind| kind.name).collect();
        let what = format!("is missing: one of {}", names.join(", "));
        flags.problems.add(&Place::Flag("--strategy".into()), what);
    }
    let data = what.interval.clone().unwrap_or_else(|| "1m".into());
    let data = flags.given("--interval", Some(&data), parse::data_kind);
    let price_type =
        flags.plain("--price-type", &what.price_type, str::parse::<PriceType>).unwrap_or_default();
    let params = what
        .set
        .iter()
        .filter_map(|text| {
            let (name, value) = flags.given("--set", Some(text), parse::param)?.value;
            Some((name.clone(), Given::new(value, Place::Flag("--set".into()))))
        })
        .collect();
    let size = flags.plain("--size", &what.size, str::parse).unwrap_or(DEFAULT_SIZE);
    let balance = flags.plain("--cash", &what.cash, parse::balance).unwrap_or(DEFAULT_BALANCE);
    let currency = flags.given("--currency", what.currency.as_ref(), |text| Currency::new(text));
    let kind = account_kind(&mut flags, what);
    let venue = venue(&mut flags, what);
    let risk = RiskLimits {
        daily_loss_max_pct: flags.plain("--daily-loss-max", &what.daily_loss_max, parse::percent),
        drawdown_max_pct: flags.plain("--drawdown-max", &what.drawdown_max, parse::percent),
        order_notional_max: flags.plain("--order-notional-max", &what.order_notional_max, parse::balance),
        position_notional_max: flags.plain(
            "--position-notional-max",
            &what.position_notional_max,
            parse::balance,
        ),
        ..RiskLimits::default()
    };
    let id = AccountId::new(DEFAULT_ACCOUNT).ok();
    let strategy = what.strategy.clone().unwrap_or_default();
    let account = id.map(|id| AccountConfig {
        id: Given::new(id, Place::Default),
        kind,
        currency,
        balance,
        strategies: vec![StrategyConfig {
            id: None,
            kind: Given::new(strategy, Place::Flag("--strategy".into())),
            params,
            symbols: Vec::new(),
            size,
        }],
        risk,
        venue,
    });
    let config = data.map(|data| RunConfig {
        catalog: RunConfig::CATALOG.into(),
        out: RunConfig::OUT.into(),
        symbols,
        data,
        price_type,
        from: None,
        to: None,
        seed: 0,
        batch_rows: RunConfig::BATCH_ROWS,
        window_batches: RunConfig::WINDOW_BATCHES,
        equity_interval: None::<Given<Interval>>,
        accounts: account.into_iter().collect(),
    });
    let mut config = config;
    if let Some(config) = &mut config {
        overlay_into(args, config, &mut flags);
    }
    flags.problems.finish(config)
}

/// Puts the flags that may stand beside a file over what the file says.
///
/// # Errors
/// All that is wrong with them.
pub fn overlay(args: &Args, config: &mut RunConfig) -> Result<(), Problems> {
    let mut flags = Flags { problems: Problems::default() };
    overlay_into(args, config, &mut flags);
    flags.problems.finish(Some(()))
}

fn overlay_into(args: &Args, config: &mut RunConfig, flags: &mut Flags) {
    if let Some(catalog) = &args.catalog {
        config.catalog.clone_from(catalog);
    }
    if let Some(out) = &args.out {
        config.out.clone_from(out);
    }
    if args.from.is_some() {
        config.from = flags.given("--from", args.from.as_ref(), str::parse::<Timestamp>);
    }
    if args.to.is_some() {
        config.to = flags.given("--to", args.to.as_ref(), str::parse::<Timestamp>);
    }
    if let Some(seed) = args.seed {
        config.seed = seed;
    }
}

fn account_kind(flags: &mut Flags, what: &What) -> AccountKind {
    let leverage = flags.plain("--leverage", &what.leverage, parse::leverage);
    let cash = flags.plain("--account", &what.account, |text| match text {
        "cash" => Ok(true),
        "margin" => Ok(false),
        _ => Err(format!("{text:?} is not margin or cash")),
    });
    match (cash, leverage) {
        (Some(true), Some(_)) => {
            flags.problems.add(&Place::Flag("--leverage".into()), "a cash account has none");
            AccountKind::Cash
        }
        (Some(true), None) => AccountKind::Cash,
        (_, Some(leverage)) => AccountKind::Margin { leverage },
        (_, None) => DEFAULT_ACCOUNT_KIND,
    }
}

fn venue(flags: &mut Flags, what: &What) -> VenueSpec {
    let base = VenueSpec::default();
    let capped = flags.plain("--fill", &what.fill, parse::fill);
    let share = flags.plain("--volume-cap", &what.volume_cap, parse::share);
    if capped == Some(false) && share.is_some() {
        let why = "--fill next-open fills whole orders, without a cap";
        flags.problems.add(&Place::Flag("--volume-cap".into()), why);
    }
    let taker = flags.plain("--fee-bps", &what.fee_bps, |text| parse::fee_bps(text, false));
    let maker = flags.plain("--maker-fee-bps", &what.maker_fee_bps, |text| parse::fee_bps(text, true));
    let per_unit = flags.plain("--fee-per-unit", &what.fee_per_unit, parse::amount);
    let minimum = flags.plain("--fee-minimum", &what.fee_minimum, parse::amount);
    VenueSpec {
        volume_share_max: if capped == Some(false) { None } else { share.or(base.volume_share_max) },
        limit_fill: flags
            .plain("--limit-fill", &what.limit_fill, parse::limit_fill)
            .unwrap_or(base.limit_fill),
        slippage: flags.plain("--slippage", &what.slippage, parse::slippage).unwrap_or(base.slippage),
        fees: fees(None, taker, maker, per_unit, minimum),
        stale_after_ns: base.stale_after_ns,
        refused_share: flags.plain("--refused-share", &what.refused_share, parse::share),
    }
}
