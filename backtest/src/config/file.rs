//! A run in a TOML file. Every key is checked, and all problems are told at once, each with its line.
//!
//! `examples/sma_cross.toml` shows every key with its meaning; a test keeps that true.

use rust_decimal::Decimal;
use serde_json::{Map, Value};
use std::fmt::Display;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};
use tradeflow_model::market::PriceType;
use tradeflow_model::plan::{RiskLimits, VenueSpec};
use tradeflow_model::{AccountId, AccountKind, FeeSchedule, Interval, Symbol, Timestamp};

use super::{
    AccountConfig, DEFAULT_ACCOUNT, DEFAULT_ACCOUNT_KIND, DEFAULT_BALANCE, DEFAULT_SIZE, DataKind, Given,
    Place, Problems, RunConfig, StrategyConfig, parse,
};

/// The run that a TOML text describes; `file` is its name, for messages.
///
/// # Errors
/// All that is wrong with it.
pub fn from_toml(file: &str, text: &str) -> Result<RunConfig, Problems> {
    let mut reader = Reader { file, text, problems: Problems::default() };
    let root = match DeTable::parse(text) {
        Ok(root) => root,
        Err(error) => {
            let place = reader.place(error.span().map_or(0, |span| span.start));
            reader.problems.add(&place, error.message());
            return reader.problems.finish(None);
        }
    };
    let config = reader.run(root.get_ref());
    reader.problems.finish(config)
}

struct Reader<'a> {
    file: &'a str,
    text: &'a str,
    problems: Problems,
}

/// A table that is being read: keys asked for are known, all others are problems.
struct Section<'a> {
    name: &'a str,
    table: Option<&'a DeTable<'a>>,
    known: Vec<&'static str>,
}

impl<'a> Section<'a> {
    fn get(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.known.push(key);
        self.table?.get(key)
    }
}

impl<'a> Reader<'a> {
    fn place(&self, at: usize) -> Place {
        let line =
            1 + self.text.as_bytes()[..at.min(self.text.len())].iter().filter(|b| **b == b'\n').count();
        Place::Line { file: self.file.to_owned(), line }
    }

    /// Complains about keys that nobody asked for.
    fn close(&mut self, section: &Section<'_>) {
        for (key, _) in section.table.into_iter().flat_map(DeTable::iter) {
            if section.known.iter().any(|known| *known == key.get_ref().as_ref()) {
                continue;
            }
            let place = self.place(key.span().start);
            let known = section.known.join(", ");
            let what = format!("{}there is no key {:?}; there are {known}", section.name, key.get_ref());
            self.problems.add(&place, what);
        }
    }

    fn section(&mut self, of: &mut Section<'a>, key: &'static str, name: &'a str) -> Section<'a> {
        let value = of.get(key);
        let table = value.and_then(|value| match value.get_ref() {
            DeValue::Table(table) => Some(table),
            _ => {
                let place = self.place(value.span().start);
                self.problems.add(&place, format!("{key} must be a table: [{key}]"));
                None
            }
        });
        Section { name, table, known: Vec::new() }
    }

    fn sections(&mut self, of: &mut Section<'a>, key: &'static str) -> Vec<(&'a DeTable<'a>, Place)> {
        let Some(value) = of.get(key) else { return Vec::new() };
        let place = self.place(value.span().start);
        let DeValue::Array(array) = value.get_ref() else {
            self.problems.add(&place, format!("{key} must be an array of tables: [[{key}]]"));
            return Vec::new();
        };
        let mut tables = Vec::new();
        for entry in array.iter() {
            match entry.get_ref() {
                DeValue::Table(table) => tables.push((table, self.place(entry.span().start))),
                _ => self.problems.add(&place, format!("{key} must be an array of tables: [[{key}]]")),
            }
        }
        tables
    }

    /// A key's value through `parse`, which is given its text: of a string its contents, of a number its digits.
    fn value<T, E: Display>(
        &mut self,
        section: &mut Section<'a>,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<Given<T>> {
        let value = section.get(key)?;
        let place = self.place(value.span().start);
        let Some(text) = scalar(value.get_ref()) else {
            self.problems.add(&place, format!("{key} must be a single value"));
            return None;
        };
        let parsed = parse(&text).map_err(|error| format!("{key}: {error}"));
        self.problems.check(&place, parsed).map(|value| Given::new(value, place))
    }

    fn plain<T, E: Display>(
        &mut self,
        section: &mut Section<'a>,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        self.value(section, key, parse).map(|given| given.value)
    }

    fn whole(&mut self, section: &mut Section<'a>, key: &'static str, low: u64, high: u64) -> Option<u64> {
        self.plain(section, key, |text| {
            let value: u64 = text.parse().map_err(|_| format!("{text:?} is not a whole number"))?;
            if (low..=high).contains(&value) {
                Ok(value)
            } else {
                Err(format!("{value} is not from {low} to {high}"))
            }
        })
    }

    fn symbols(&mut self, section: &mut Section<'a>, key: &'static str) -> Vec<Given<Symbol>> {
        let Some(value) = section.get(key) else { return Vec::new() };
        let single;
        let entries: &[Spanned<DeValue<'_>>] = match value.get_ref() {
            DeValue::Array(array) => array_of(array),
            DeValue::String(text) => {
                single = [Spanned::new(value.span(), DeValue::String(text.clone()))];
                &single
            }
            _ => &[],
        };
        let place = self.place(value.span().start);
        if entries.is_empty() {
            self.problems.add(&place, format!("{key} must be a symbol or a list of symbols"));
        }
        let mut symbols = Vec::new();
        for entry in entries {
            let place = self.place(entry.span().start);
            let text = scalar(entry.get_ref()).unwrap_or_default();
            if let Some(symbol) = self.problems.check(&place, Symbol::new(text)) {
                symbols.push(Given::new(symbol, place));
            }
        }
        symbols
    }

    fn run(&mut self, root: &'a DeTable<'a>) -> Option<RunConfig> {
        let mut root = Section { name: "", table: Some(root), known: Vec::new() };
        let from = self.value(&mut root, "from", str::parse::<Timestamp>);
        let to = self.value(&mut root, "to", str::parse::<Timestamp>);
        let catalog = self.plain(&mut root, "catalog", text).unwrap_or_else(|| RunConfig::CATALOG.into());
        let out = self.plain(&mut root, "out", text).unwrap_or_else(|| RunConfig::OUT.into());
        let seed = self.whole(&mut root, "seed", 0, i64::MAX as u64).unwrap_or(0);
        let batch_rows = self.whole(&mut root, "batch_rows", 1, 1 << 20);
        let window_batches = self.whole(&mut root, "window_batches", 1, 1024);
        let equity_interval = self.value(&mut root, "equity_interval", str::parse::<Interval>);
        let mut data = self.section(&mut root, "data", "[data] ");
        let symbols = self.symbols(&mut data, "symbols");
        let kind = self.value(&mut data, "interval", parse::data_kind);
        let price_type = self.plain(&mut data, "price_type", str::parse::<PriceType>).unwrap_or_default();
        self.close(&data);
        if symbols.is_empty() {
            self.problems.add(&Place::Default, format!("{}: [data] symbols is missing", self.file));
        }
        let mut execution = self.section(&mut root, "execution", "[execution] ");
        let venue = self.execution(&mut execution, VenueSpec::default());
        let mut limits = self.section(&mut root, "risk", "[risk] ");
        let risk = self.risk(&mut limits, RiskLimits::default());
        let accounts: Vec<_> = self
            .sections(&mut root, "account")
            .into_iter()
            .filter_map(|(table, place)| self.account(table, &place, venue, risk))
            .collect();
        if root.table.is_some_and(|table| !table.contains_key("account")) {
            let what =
                format!("{}: there is no account: add [[account]] with [[account.strategy]]", self.file);
            self.problems.add(&Place::Default, what);
        }
        self.close(&root);
        Some(RunConfig {
            catalog,
            out,
            symbols,
            data: kind.unwrap_or(Given::new(DataKind::Bars(Interval::MINUTE), Place::Default)),
            price_type,
            from,
            to,
            seed,
            batch_rows: batch_rows.map_or(RunConfig::BATCH_ROWS, |rows| rows as u32),
            window_batches: window_batches.map_or(RunConfig::WINDOW_BATCHES, |batches| batches as u32),
            equity_interval,
            accounts,
        })
    }

    fn account(
        &mut self,
        table: &'a DeTable<'a>,
        place: &Place,
        venue: VenueSpec,
        risk: RiskLimits,
    ) -> Option<AccountConfig> {
        let mut section = Section { name: "[[account]] ", table: Some(table), known: Vec::new() };
        let id = match self.value(&mut section, "id", |text: &str| AccountId::new(text)) {
            Some(id) => Some(id),
            None if table.contains_key("id") => None,
            None => AccountId::new(DEFAULT_ACCOUNT).ok().map(|id| Given::new(id, place.clone())),
        };
        let cash = self.plain(&mut section, "kind", |text| match text {
            "cash" => Ok(true),
            "margin" => Ok(false),
            _ => Err(format!("{text:?} is not cash or margin")),
        });
        let leverage = self.value(&mut section, "leverage", parse::leverage);
        let kind = match (cash, leverage) {
            (Some(true), Some(leverage)) => {
                self.problems.add(&leverage.place, "leverage: a cash account has none");
                AccountKind::Cash
            }
            (Some(true), None) => AccountKind::Cash,
            (_, Some(leverage)) => AccountKind::Margin { leverage: leverage.value },
            (_, None) => DEFAULT_ACCOUNT_KIND,
        };
        let currency =
            self.value(&mut section, "currency", |text: &str| tradeflow_model::Currency::new(text));
        let balance = self.plain(&mut section, "balance", parse::balance).unwrap_or(DEFAULT_BALANCE);
        let mut execution = self.section(&mut section, "execution", "[account.execution] ");
        let venue = self.execution(&mut execution, venue);
        let mut limits = self.section(&mut section, "risk", "[account.risk] ");
        let risk = self.risk(&mut limits, risk);
        let strategies: Vec<_> = self
            .sections(&mut section, "strategy")
            .into_iter()
            .filter_map(|(table, place)| self.strategy(table, &place))
            .collect();
        if !table.contains_key("strategy") {
            self.problems.add(place, "the account has no strategy: add [[account.strategy]]");
        }
        self.close(&section);
        Some(AccountConfig { id: id?, kind, currency, balance, strategies, risk, venue })
    }

    fn strategy(&mut self, table: &'a DeTable<'a>, place: &Place) -> Option<StrategyConfig> {
        let mut section = Section { name: "[[account.strategy]] ", table: Some(table), known: Vec::new() };
        let id = self.plain(&mut section, "id", text);
        let kind = self.value(&mut section, "kind", text);
        if kind.is_none() && !table.contains_key("kind") {
            self.problems.add(place, "the strategy has no kind, such as kind = \"sma_cross\"");
        }
        let symbols =
            if table.contains_key("symbols") { self.symbols(&mut section, "symbols") } else { Vec::new() };
        section.known.push("symbols");
        let size = self.plain(&mut section, "size", str::parse).unwrap_or(DEFAULT_SIZE);
        let params = self.section(&mut section, "params", "");
        let params = params
            .table
            .into_iter()
            .flat_map(DeTable::iter)
            .map(|(key, value)| {
                let place = self.place(value.span().start);
                (key.get_ref().to_string(), Given::new(json(value.get_ref()), place))
            })
            .collect();
        self.close(&section);
        Some(StrategyConfig { id, kind: kind?, params, symbols, size })
    }

    fn execution(&mut self, section: &mut Section<'a>, base: VenueSpec) -> VenueSpec {
        let capped = self.plain(section, "fill", parse::fill);
        let share = self.value(section, "volume_cap", parse::share);
        if let (Some(false), Some(share)) = (capped, &share) {
            self.problems
                .add(&share.place, "volume_cap: fill = \"next-open\" fills whole orders, without a cap");
        }
        let volume_share_max = match (capped, share) {
            (Some(false), _) => None,
            (_, Some(share)) => Some(share.value),
            (Some(true), None) => base.volume_share_max.or(VenueSpec::default().volume_share_max),
            (None, None) => base.volume_share_max,
        };
        let taker = self.plain(section, "fee_bps", |text| parse::fee_bps(text, false));
        let maker = self.plain(section, "maker_fee_bps", |text| parse::fee_bps(text, true));
        let per_unit = self.plain(section, "fee_per_unit", parse::amount);
        let minimum = self.plain(section, "fee_minimum", parse::amount);
        let venue = VenueSpec {
            volume_share_max,
            limit_fill: self.plain(section, "limit_fill", parse::limit_fill).unwrap_or(base.limit_fill),
            slippage: self.plain(section, "slippage", parse::slippage).unwrap_or(base.slippage),
            fees: fees(base.fees, taker, maker, per_unit, minimum),
            stale_after_ns: base.stale_after_ns,
            refused_share: self.plain(section, "refused_share", parse::share).or(base.refused_share),
        };
        self.close(section);
        venue
    }

    fn risk(&mut self, section: &mut Section<'a>, base: RiskLimits) -> RiskLimits {
        let limits = RiskLimits {
            order_notional_max: self
                .plain(section, "order_notional_max", parse::balance)
                .or(base.order_notional_max),
            position_notional_max: self
                .plain(section, "position_notional_max", parse::balance)
                .or(base.position_notional_max),
            open_orders_max: self
                .whole(section, "open_orders_max", 1, 1_000_000)
                .map(|max| max as u32)
                .or(base.open_orders_max),
            price_collar_bps: self
                .whole(section, "price_collar_bps", 1, 10_000)
                .map(|max| max as u32)
                .or(base.price_collar_bps),
            daily_loss_max_pct: self
                .plain(section, "daily_loss_max_pct", parse::percent)
                .or(base.daily_loss_max_pct),
            drawdown_max_pct: self
                .plain(section, "drawdown_max_pct", parse::percent)
                .or(base.drawdown_max_pct),
        };
        self.close(section);
        limits
    }
}

/// Fees from single settings; what is not given is taken from the base. Makers pay as takers unless told otherwise.
pub fn fees(
    base: Option<FeeSchedule>,
    taker: Option<Decimal>,
    maker: Option<Decimal>,
    per_unit: Option<Decimal>,
    minimum: Option<Decimal>,
) -> Option<FeeSchedule> {
    if taker.is_none() && maker.is_none() && per_unit.is_none() && minimum.is_none() {
        return base;
    }
    let base = base.unwrap_or_default();
    Some(FeeSchedule {
        taker_bps: taker.unwrap_or(base.taker_bps),
        maker_bps: maker.or(taker).unwrap_or(base.maker_bps),
        per_unit: per_unit.unwrap_or(base.per_unit),
        minimum: minimum.unwrap_or(base.minimum),
    })
}

fn text(text: &str) -> Result<String, std::convert::Infallible> {
    Ok(text.to_owned())
}

fn array_of<'a>(array: &'a DeArray<'a>) -> &'a [Spanned<DeValue<'a>>] {
    array
}

fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::Float(number) => Some(number.to_string()),
        DeValue::Boolean(value) => Some(value.to_string()),
        DeValue::Datetime(time) => Some(time.to_string()),
        DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

fn json(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) => {
            let text = scalar(value).unwrap_or_default();
            serde_json::from_str(&text.replace('_', "")).unwrap_or(Value::String(text))
        }
        DeValue::Array(array) => Value::Array(array.iter().map(|entry| json(entry.get_ref())).collect()),
        DeValue::Table(table) => {
            let entries = table.iter().map(|(key, value)| (key.get_ref().to_string(), json(value.get_ref())));
            Value::Object(Map::from_iter(entries))
        }
        _ => Value::String(scalar(value).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_wrong_is_told_at_once_with_its_line() {
        let text = "\
from = \"2017-13-01\"
colour = \"red\"

[data]
symbols = [\"BTC/USD\", \"OK\"]
interval = \"7m\"

[execution]
fee_bps = -3
fill = \"yesterday\"

[[account]]
balance = 0
leverage = 0.5
[[account.strategy]]
size = \"lots\"
";
        let problems = from_toml("run.toml", text).unwrap_err();
        let told: Vec<String> = problems.0.iter().map(ToString::to_string).collect();
        let lines: Vec<&str> = told.iter().filter_map(|t| t.split(':').nth(1)).collect();
        for line in ["1", "2", "5", "6", "9", "10", "13", "14", "16"] {
            assert!(lines.contains(&line), "line {line} is missing from {told:#?}");
        }
        assert!(told.iter().any(|t| t.contains("colour") && t.contains("equity_interval")), "{told:#?}");
        assert!(told.iter().any(|t| t.contains("no kind")), "{told:#?}");
    }

    #[test]
    fn broken_toml_names_its_line() {
        let problems = from_toml("run.toml", "from = \"2017-01-01\"\n[data\n").unwrap_err();
        assert!(problems.to_string().starts_with("run.toml:2: "), "{problems}");
    }

    #[test]
    fn accounts_take_over_what_they_do_not_say() {
        let text = "\
[data]
symbols = \"BTCUSD\"
[execution]
fee_bps = 7.5
[[account]]
id = \"a\"
[[account.strategy]]
kind = \"sma_cross\"
params = { fast = 10, direction = \"long\" }
[[account]]
id = \"b\"
kind = \"cash\"
[account.execution]
fee_bps = 1
maker_fee_bps = -0.5
[[account.strategy]]
kind = \"buy_and_hold\"
";
        let config = from_toml("run.toml", text).unwrap();
        let fees: Vec<_> = config
            .accounts
            .iter()
            .map(|a| {
                let fees = a.venue.fees.unwrap();
                (fees.taker_bps.to_string(), fees.maker_bps.to_string())
            })
            .collect();
        assert_eq!(fees, [("7.5".into(), "7.5".into()), ("1".into(), "-0.5".into())]);
        assert_eq!(config.accounts[1].kind, AccountKind::Cash);
        let (name, value) = &config.accounts[0].strategies[0].params[0];
        assert_eq!(
            (name.as_str(), &value.value, &value.place),
            ("direction", &Value::String("long".into()), &Place::Line { file: "run.toml".into(), line: 9 })
        );
    }
}
