//! What must fit together, as far as the configuration alone can tell; what the catalog says is seen in `plan.rs`.

use std::collections::BTreeSet;
use std::fmt::Display;

use tracing_subscriber::EnvFilter;
use tradeflow_actors::strategy::{Needs, kind_of};
use tradeflow_backtest::config::{DataKind, Place, Problems};
use tradeflow_model::Symbol;
use tradeflow_state::KeyRing;

use super::oidc::OidcSection;
use super::trading::{AccountSection, FeedName, InstrumentSection, KindName, StrategySection};
use super::tree::Step::{self, Index, Key};
use super::{FINNHUB_KEY, ServeConfig};

/// Notes what does not fit.
struct Checker<'a> {
    config: &'a ServeConfig,
    problems: &'a mut Problems,
    /// Whether each instrument could be read: then a symbol that is not among them is known to be wrong.
    all_instruments: bool,
}

impl ServeConfig {
    /// Where a value stands.
    pub(super) fn place(&self, path: &[Step<'_>]) -> Place {
        self.places.place(path)
    }

    pub(super) fn check(&self, problems: &mut Problems) {
        let all_instruments = !problems.0.iter().any(|problem| problem.what.starts_with("instruments"));
        let mut checker = Checker { config: self, problems, all_instruments };
        checker.node();
        checker.server();
        for (index, instrument) in self.instruments.iter().enumerate() {
            checker.instrument(index, instrument);
        }
        for (index, account) in self.accounts.iter().enumerate() {
            checker.account(index, account);
        }
    }
}

impl Checker<'_> {
    fn provider(&mut self, index: usize, provider: &OidcSection) {
        let at = |key| [Key("oidc"), Index(index), Key(key)];
        let name = &provider.name;
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if name.is_empty() || name.len() > 32 || !name.bytes().all(fits) {
            let what = format!("oidc.name: {name:?} is not 1 to 32 lower-case letters, digits and `-`");
            self.add(&at("name"), what);
        }
        if self.config.oidc[..index].iter().any(|before| before.name == *name) {
            self.add(&at("name"), format!("oidc.name: {name} is there twice"));
        }
        let local = |url: &url::Url| {
            let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
            host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        };
        let issuer = url::Url::parse(&provider.issuer);
        if !issuer.is_ok_and(|url| url.scheme() == "https" || (url.scheme() == "http" && local(&url))) {
            let what =
                format!("oidc.issuer: {:?} is no address such as https://login.example.org", provider.issuer);
            self.add(&at("issuer"), what);
        }
        if self.config.api.public_url.is_none() {
            let what =
                format!("oidc {name}: api.public_url must be given: the provider sends users back there");
            self.add(&at("name"), what);
        }
        if provider.role_claim.is_some() == provider.roles.is_empty() {
            self.add(&at("role_claim"), format!("oidc {name}: role_claim and roles go together"));
        }
    }

    fn server(&mut self) {
        let config = self.config;
        if let Some(Err(error)) = config.mail.config().map(|mail| mail.check()) {
            self.add(&[Key("mail"), Key(error.field)], format!("mail.{error}"));
        }
        if config.api.tls_certificate.is_some() != config.api.tls_key.is_some() {
            let (there, missing) = match config.api.tls_key {
                Some(_) => ("tls_key", "tls_certificate"),
                None => ("tls_certificate", "tls_key"),
            };
            self.add(&[Key("api"), Key(there)], format!("api.{there}: there is no {missing} to go with it"));
        }
        for (index, origin) in config.api.cors_origins.iter().enumerate() {
            if !is_origin(origin) {
                let what = format!(
                    "api.cors_origins: {origin:?} is no origin such as https://app.example.org, without path; each page is \
                     named, there is no `*`"
                );
                self.add(&[Key("api"), Key("cors_origins"), Index(index)], what);
            }
        }
        if let Some(Err(error)) = config.state.key.as_ref().map(|keys| KeyRing::parse(keys.expose())) {
            self.add(&[Key("state"), Key("key")], format!("state.key: {error}"));
        }
        if config.state.key.is_some() && config.state.key_file.is_some() {
            self.add(&[Key("state"), Key("key_file")], "state.key_file: the keys are given by state.key too");
        }
        for (index, provider) in config.oidc.iter().enumerate() {
            self.provider(index, provider);
        }
        if let Some(url) = &config.api.public_url
            && !is_origin(url.trim_end_matches('/'))
        {
            let what = format!("api.public_url: {url:?} is no address such as https://trade.example.org");
            self.add(&[Key("api"), Key("public_url")], what);
        }
    }

    fn add(&mut self, path: &[Step<'_>], what: impl Display) {
        self.problems.add(&self.config.place(path), what.to_string());
    }

    fn node(&mut self) {
        let config = self.config;
        if config.node.name.is_empty() || config.node.name.len() > 64 {
            self.add(&[Key("node"), Key("name")], "node.name: takes 1 to 64 letters");
        }
        if config.node.data.is_empty() {
            self.add(&[Key("node"), Key("data")], "node.data: names no folder; `.` is the current one");
        }
        if let Err(error) = EnvFilter::try_new(&config.log.level) {
            let what = format!("log.level: {:?} is no level such as info: {error}", config.log.level);
            self.add(&[Key("log"), Key("level")], what);
        }
        let bus = &config.bus;
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.' || b == b'-';
        if bus.prefix.len() > 100 || !bus.prefix.bytes().all(fits) {
            let what = format!(
                "bus.prefix: {:?} is not up to 100 lower-case letters, digits, `.` and `-`, such as prod.",
                bus.prefix
            );
            self.add(&[Key("bus"), Key("prefix")], what);
        }
        if let Some(brokers) = &bus.kafka
            && brokers.split(',').any(|broker| !is_address(broker.trim()))
        {
            let what = format!("bus.kafka: {brokers:?} is not host:port, with commas between several");
            self.add(&[Key("bus"), Key("kafka")], what);
        }
        if bus.kafka.is_none() && !bus.settings.is_empty() {
            let what = "bus.settings: they are Kafka's, and there is no bus.kafka";
            self.add(&[Key("bus"), Key("settings")], what);
        }
        if let Err(error) = config.results.parse() {
            self.add(&[Key("results"), Key("clickhouse")], format!("results.clickhouse: {error}"));
        }
        let feeds = &config.feeds;
        let http: &[&str] = &["http://", "https://"];
        let socket: &[&str] = &["ws://", "wss://"];
        let yahoo = feeds.yahoo.url.as_ref();
        let addresses = [
            ("binance", "url", Some(&feeds.binance.url), socket),
            ("binance", "rest_url", Some(&feeds.binance.rest_url), http),
            ("finnhub", "url", Some(&feeds.finnhub.url), socket),
            ("finnhub", "rest_url", Some(&feeds.finnhub.rest_url), http),
            ("yahoo", "url", yahoo, http),
        ];
        for (feed, key, url, schemes) in addresses {
            let fits = |url: &String| {
                let rest = schemes.iter().find_map(|scheme| url.strip_prefix(scheme));
                rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(char::is_whitespace))
            };
            if url.is_some_and(|url| !fits(url)) {
                let what = format!(
                    "feeds.{feed}.{key}: is not an address that begins with {}",
                    schemes.join(" or ")
                );
                self.add(&[Key("feeds"), Key(feed), Key(key)], what);
            }
        }
    }

    fn instrument(&mut self, index: usize, instrument: &InstrumentSection) {
        let at = |key| [Key("instruments"), Index(index), Key(key)];
        let symbol = &instrument.symbol;
        if self.config.instruments[..index].iter().any(|earlier| earlier.symbol == *symbol) {
            self.add(&at("symbol"), format!("there is more than one instrument {symbol}"));
        }
        let feed = instrument.feed;
        if let (Some(feed), Some(name)) = (feed, instrument.feed_symbol.as_deref()) {
            if name.trim().is_empty() {
                self.add(&at("feed_symbol"), "feed_symbol: is empty");
            }
            let same =
                |earlier: &&InstrumentSection| earlier.feed == Some(feed) && earlier.vendor_symbol() == name;
            if let Some(earlier) = self.config.instruments[..index].iter().find(same) {
                let what = format!("{symbol}: {} has {name} already", earlier.symbol);
                self.add(&at("feed_symbol"), what);
            }
        }
        if feed == Some(FeedName::Finnhub) && self.config.feeds.finnhub.key.is_none() {
            let what =
                format!("{symbol}: Finnhub needs a key: set {FINNHUB_KEY}, or key under [feeds.finnhub]");
            self.add(&at("feed"), what);
        }
        if feed == Some(FeedName::Yahoo) && instrument.trades == Some(true) {
            self.add(&at("trades"), format!("{symbol}: yahoo has last prices alone, no trades"));
        }
        if matches!(feed, Some(FeedName::Finnhub | FeedName::Yahoo)) && instrument.quotes == Some(true) {
            self.add(&at("quotes"), format!("{symbol}: only binance has quotes"));
        }
        let (bars, _) = instrument.made_bars();
        if !bars.is_empty() && !instrument.follows_trades() && !instrument.follows_quotes() {
            self.add(
                &at("bars"),
                format!("{symbol}: bars are made of trades or quotes, and it follows none"),
            );
        }
        for (number, bar) in bars.iter().enumerate() {
            if bars[..number].contains(bar) {
                let path = [Key("instruments"), Index(index), Key("bars"), Index(number)];
                self.add(&path, format!("{symbol}: {bar} is named twice"));
            }
        }
    }

    fn account(&mut self, index: usize, account: &AccountSection) {
        let at = |key| [Key("accounts"), Index(index), Key(key)];
        let id = &account.id;
        if self.config.accounts[..index].iter().any(|earlier| earlier.id == *id) {
            self.add(&at("id"), format!("there is more than one account {id}: give each an id"));
        }
        if account.kind == KindName::Cash && account.leverage.is_some() {
            self.add(&at("leverage"), format!("account {id}: a cash account has no leverage"));
        }
        let mut seen = BTreeSet::new();
        for (number, symbol) in account.symbols.iter().flatten().enumerate() {
            let path = [Key("accounts"), Index(index), Key("symbols"), Index(number)];
            if !seen.insert(symbol) {
                self.add(&path, format!("account {id}: {symbol} is named twice"));
            } else if !self.config.instruments.iter().any(|known| known.symbol == *symbol) {
                self.unknown_symbol(&path, &format!("account {id}"), symbol);
            }
        }
        if account.symbols.as_ref().is_some_and(Vec::is_empty) {
            self.add(
                &at("symbols"),
                format!("account {id}: symbols is empty; leave it out for all instruments"),
            );
        }
        let mut names = BTreeSet::new();
        for (number, strategy) in account.strategies.iter().enumerate() {
            let path = [Key("accounts"), Index(index), Key("strategies"), Index(number)];
            let name = strategy.name();
            if !names.insert(name) {
                let what = format!("account {id}: there is more than one strategy {name}: give each an id");
                self.add(&[&path[..], &[Key("id")]].concat(), what);
            }
            if name.is_empty() || name.len() > 64 || name.contains(char::is_control) {
                self.add(&[&path[..], &[Key("id")]].concat(), "a strategy's id takes 1 to 64 letters");
            }
            self.strategy(account, strategy, &path);
        }
    }

    fn unknown_symbol(&mut self, path: &[Step<'_>], whose: &str, symbol: &Symbol) {
        if self.all_instruments {
            let names: Vec<_> = self.config.instruments.iter().take(20).map(|i| i.symbol.as_str()).collect();
            let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            self.add(path, format!("{whose}: {symbol} is not among the instruments; there are {names}"));
        }
    }

    fn strategy(&mut self, account: &AccountSection, strategy: &StrategySection, path: &[Step<'_>]) {
        let at = |key| [path, &[Key(key)]].concat();
        let whose = format!("account {}, strategy {}", account.id, strategy.name());
        let kind = match kind_of(&strategy.kind) {
            Ok(kind) => kind,
            Err(what) => return self.add(&at("kind"), what),
        };
        let params = match kind.resolve(&strategy.params) {
            Ok(params) => params,
            Err(errors) => {
                for error in errors {
                    let path = [path, &[Key("params"), Key(&error.param)]].concat();
                    self.add(&path, format!("{whose}: {}: {}", error.param, error.why));
                }
                return;
            }
        };
        let Ok(Needs { series, warm_up }) = kind.needs(&params) else { return };
        let on_ticks = !matches!(strategy.data.get(), DataKind::Bars(_));
        if warm_up > 0 && on_ticks && series.iter().any(|need| need.interval.is_none()) {
            let what =
                format!("{whose}: {} decides on bars: name an interval, such as data = \"1m\"", kind.name);
            self.add(&at("data"), what);
        }
        let followed =
            |symbol: &Symbol| account.symbols.as_ref().is_none_or(|symbols| symbols.contains(symbol));
        for (number, symbol) in strategy.symbols.iter().flatten().enumerate() {
            let path = [path, &[Key("symbols"), Index(number)]].concat();
            if !self.config.instruments.iter().any(|known| known.symbol == *symbol) {
                self.unknown_symbol(&path, &whose, symbol);
            } else if !followed(symbol) {
                self.add(&path, format!("{whose}: {symbol} is not among the account's symbols"));
            }
        }
        let needed = 1 + series.iter().map(|need| need.instrument).max().unwrap_or(0);
        let symbols = self.config.symbols_of(account, strategy).len();
        if symbols != needed && (self.all_instruments || strategy.symbols.is_some()) {
            let key = if strategy.symbols.is_some() { "symbols" } else { "kind" };
            let what = format!(
                "{whose}: {} takes {needed} of the instruments, not {symbols}: name them by symbols",
                kind.name
            );
            self.add(&at(key), what);
        }
    }
}

/// Scheme, host, perhaps a port, and nothing else, as browsers write it.
fn is_origin(text: &str) -> bool {
    url::Url::parse(text).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https") && url.origin().ascii_serialization() == text
    })
}

fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    !host.is_empty() && !host.contains(char::is_whitespace) && port.parse::<u16>().is_ok_and(|port| port > 0)
}
