use std::path::Path;

use proptest::prelude::*;
use tradeflow_backtest::config::Problems;
use tradeflow_bus::Durability;
use tradeflow_live::SessionPlan;
use tradeflow_model::market::{PriceType, SeriesKind};
use tradeflow_model::{AccountKind, InstrumentId, Interval, Timestamp};
use tradeflow_storage::catalog::Catalog;

use super::trading::FeedName;
use super::*;

const BTC: &str = r#"
[[instruments]]
symbol = "BTCUSD"
class = "crypto-spot"
price_scale = 2
size_scale = 6
base = "BTC"
quote = "USD"
feed = "binance"
feed_symbol = "BTCUSDT"
"#;

fn variables(given: &[(&str, &str)]) -> Vec<(String, String)> {
    given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn read(text: &str, given: &[(&str, &str)]) -> Result<ServeConfig, Problems> {
    ServeConfig::read(Some(("serve.toml", text.as_bytes())), variables(given))
}

fn told(problems: Problems) -> Vec<String> {
    problems.0.iter().map(ToString::to_string).collect()
}

fn line_of(text: &str, part: &str) -> String {
    let line = text.lines().position(|line| line.contains(part)).expect(part) + 1;
    format!("serve.toml:{line}: ")
}

/// Each line of the file that has a `# !` is complained about, in words that hold what stands behind it.
fn assert_told(text: &str, problems: Problems) {
    let told = told(problems);
    let mut wrong = 0;
    for (number, line) in text.lines().enumerate() {
        for expected in line.split("# !").skip(1) {
            wrong += 1;
            let place = format!("serve.toml:{}: ", number + 1);
            let expected = expected.trim();
            assert!(
                told.iter().any(|t| t.starts_with(&place) && t.contains(expected)),
                "{place}{expected}: {told:#?}"
            );
        }
    }
    assert_eq!(told.len(), wrong, "{told:#?}");
}

fn plan(config: &ServeConfig) -> Result<SessionPlan, Problems> {
    let folder = tempfile::tempdir().unwrap();
    let catalog = Catalog::open(folder.path().to_str().unwrap()).unwrap();
    config.session_plan(&catalog, now())
}

fn now() -> Timestamp {
    "2024-03-01T00:00:00Z".parse().unwrap()
}

#[test]
fn nothing_at_all_is_a_configuration() {
    let config = ServeConfig::read(None, []).unwrap();
    assert_eq!(config, ServeConfig::default());
    assert_eq!(config.node.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.log_folder(), Some("data/bus".into()));
    assert_eq!(config.catalog(), "data/catalog");
    let problems = told(plan(&config).unwrap_err());
    assert!(problems[0].contains("[[instruments]]"), "{problems:?}");
}

#[test]
fn the_example_is_whole_and_makes_a_plan() {
    let path = Path::new("examples/serve.toml");
    let config = ServeConfig::read(
        Some(("serve.toml", &std::fs::read(path).unwrap())),
        variables(&[("TRADEFLOW_FINNHUB_KEY", "a key")]),
    );
    let config = config.unwrap_or_else(|problems| panic!("{problems}"));
    let plan = plan(&config).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(plan.run.cells.len(), 2);
    assert!(plan.accounts.iter().all(|account| !account.strategies.is_empty()));
    let ranks: Vec<_> = plan.run.series.iter().map(|s| (s.kind.rank(), s.instrument)).collect();
    assert!(ranks.is_sorted(), "{ranks:?}");
}

#[test]
fn what_is_printed_reads_back_as_the_same() {
    let path = Path::new("examples/serve.toml");
    let bytes = std::fs::read(path).unwrap();
    let given = variables(&[("TRADEFLOW_FINNHUB_KEY", "s3cr3t")]);
    let config = ServeConfig::read(Some(("serve.toml", &bytes)), given.clone()).unwrap();
    let shown = config.to_toml();
    assert!(!shown.contains("s3cr3t") && shown.contains("***"), "{shown}");
    let again = ServeConfig::read(Some(("shown.toml", shown.as_bytes())), given).unwrap();
    assert_eq!(again.to_toml(), shown);
    assert_eq!(plan(&again).unwrap(), plan(&config).unwrap());
}

#[test]
fn everything_wrong_is_told_at_once_with_its_line() {
    let text = r#"
colour = "red"                          # ! colour
[node]
listen = "here"                         # ! node.listen
arbiters = 0                            # ! not from 1 to 256
durability = "forever"                  # ! unknown variant
snapshot_interval = "5 minutes"         # ! is not a time
grace = 500                             # ! is not a time
nme = "x"                               # ! unknown field `nme`
[bus]
kafka = "nowhere"                       # ! host:port
prefix = "Prod_"                        # ! bus.prefix
partitions = 8.5                        # ! not a whole number
retention = { age = "1s", bytes = "1" } # ! bus.retention.age # ! bus.retention.bytes
[log]
level = "loud=quiet=no"                 # ! log.level
json = "yes"                            # ! log.json
[feeds.binance]
url = "http://example.org"              # ! ws://
[recorder]
flush = "0s"                            # ! recorder.flush
[[accounts]]
id = "a b"                              # ! account
kind = "savings"                        # ! unknown variant
balance = -5                            # ! balance
[accounts.venue]
slippage = "some"                       # ! slippage
volume_share_max = 2                    # ! volume_share_max
[accounts.risk]
drawdown_max_pct = 101                  # ! drawdown_max_pct
[[accounts.strategies]]
kind = "buy_and_hold"                   # ! takes 1 of the instruments, not 0
size = "lots"                           # ! size
"#;
    assert_told(text, read(text, &[]).unwrap_err());
}

#[test]
fn what_does_not_fit_together_is_told_at_once_with_its_line() {
    let text = format!(
        r#"{BTC}
[[instruments]]
symbol = "BTCUSD"                       # ! more than one instrument BTCUSD
feed = "finnhub"                        # ! TRADEFLOW_FINNHUB_KEY
quotes = true                           # ! only binance has quotes
bars = ["1m", "5m", "1m"]               # ! named twice
[[instruments]]
symbol = "SPY"
feed = "yahoo"
trades = true                           # ! no trades
[[accounts]]
kind = "cash"
leverage = 2                            # ! has no leverage
symbols = ["BTCUSD", "ETHUSD", "BTCUSD"] # ! ETHUSD is not among # ! BTCUSD is named twice
[[accounts.strategies]]
kind = "sma_cros"                       # ! there is no strategy
[[accounts.strategies]]
kind = "sma_cross"
symbols = ["BTCUSD"]
params = {{ fast = 0, colour = 1 }}     # ! fast: 0 is not from # ! colour: sma_cross has no such
[[accounts.strategies]]
kind = "sma_cross"
symbols = ["SPY"]                       # ! not among the account's symbols
id = "sma_cross"                        # ! more than one strategy sma_cross
data = "trades"                         # ! decides on bars
[[accounts]]
id = "main"                             # ! more than one account main
[bus]
settings = {{ "linger.ms" = 5 }}        # ! no bus.kafka
"#
    );
    assert_told(&text, read(&text, &[]).unwrap_err());
}

#[test]
fn what_the_catalog_and_the_data_do_not_give_is_told() {
    let text = format!(
        r#"{BTC}
[[instruments]]
symbol = "ETHEUR"                       # ! give its class, price_scale, size_scale, base, quote
"#
    );
    assert_told(&text, plan(&read(&text, &[]).unwrap()).unwrap_err());
    let text = format!(
        r#"{BTC}
[[instruments]]
symbol = "ETHEUR"
class = "crypto-spot"
price_scale = 2
size_scale = 6
base = "ETH"
quote = "EUR"
[[accounts]] # ! ETHEUR settles in EUR
[[accounts.strategies]]
kind = "sma_cross"
symbols = ["BTCUSD"]
data = "5m"                             # ! add it to the configuration
"#
    );
    assert_told(&text, plan(&read(&text, &[]).unwrap()).unwrap_err());
}

#[test]
fn the_catalogs_definitions_are_taken_and_not_contradicted() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = Catalog::open(folder.path().to_str().unwrap()).unwrap();
    let defined = plan(&read(BTC, &[]).unwrap()).unwrap().run.instruments[0].clone();
    catalog.put_instrument(&defined).unwrap();
    let short = "[[instruments]]\nsymbol = \"BTCUSD\"\nfees = { taker_bps = 7.5 }\n";
    let plan = read(short, &[]).unwrap().session_plan(&catalog, now()).unwrap();
    assert_eq!(plan.run.instruments[0].price_scale, 2);
    assert_eq!(plan.run.instruments[0].fees.maker_bps.to_string(), "7.5");
    let other = BTC.replace("price_scale = 2", "price_scale = 3");
    let problems = told(read(&other, &[]).unwrap().session_plan(&catalog, now()).unwrap_err());
    assert!(problems[0].starts_with(&line_of(&other, "price_scale")), "{problems:?}");
}

#[test]
fn the_environment_goes_before_the_file() {
    let text = format!("{BTC}[[accounts]]\nbalance = 5\n");
    let given = [
        ("TRADEFLOW__NODE__LISTEN", "0.0.0.0:0"),
        ("TRADEFLOW__NODE__NAME", "123"),
        ("TRADEFLOW__NODE__DURABILITY", "power"),
        ("TRADEFLOW__LOG__JSON", "true"),
        ("TRADEFLOW__BUS__KAFKA", "127.0.0.1:9092"),
        ("TRADEFLOW__BUS__SETTINGS__SASL_PASSWORD", "hunter2"),
        ("TRADEFLOW__BUS__SETTINGS__ENABLE_SSL_CERTIFICATE_VERIFICATION", "true"),
        ("TRADEFLOW__INSTRUMENTS__0__BARS", "[\"1m\", \"1h\"]"),
        ("TRADEFLOW__ACCOUNTS__0__BALANCE", "1000.25"),
        ("TRADEFLOW__ACCOUNTS__1__ID", "second"),
        ("TRADEFLOW__ACCOUNTS__1__LEVERAGE", "3"),
        ("TRADEFLOW_FINNHUB_KEY", "12345"),
        ("TRADEFLOW_DATA", "is another's"),
    ];
    let config = read(&text, &given).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(config.node.listen.to_string(), "0.0.0.0:0");
    assert_eq!(config.node.name, "123");
    assert_eq!(config.node.durability, Durability::Power);
    assert!(config.log.json);
    assert_eq!(config.log_folder(), None);
    assert_eq!(config.bus.settings["sasl.password"].text(), "hunter2");
    assert!(config.bus.settings.contains_key("enable.ssl.certificate.verification"));
    assert_eq!(config.instruments[0].made_bars().0, [Interval::MINUTE, Interval::HOUR]);
    assert_eq!(config.accounts[0].balance.get().to_string(), "1000.25");
    assert_eq!(config.accounts[1].account_kind(), AccountKind::Margin { leverage: 3.into() });
    assert_eq!(config.feeds.finnhub.key.as_ref().unwrap().expose(), "12345");
    let shown = config.to_toml();
    assert!(!shown.contains("hunter2") && !shown.contains("12345"), "{shown}");
    let debug = format!("{:?}", config.feeds);
    assert!(!debug.contains("12345"), "{debug}");
}

#[test]
fn clickhouse_is_named_by_the_section_or_by_the_variable_of_the_commands() {
    let url = |file: &str, given: &[(&str, &str)]| {
        let config = read(file, given).unwrap_or_else(|problems| panic!("{problems}"));
        assert!(!config.to_toml().contains("hush"), "{}", config.to_toml());
        config.results.url().map(|url| url.to_string())
    };
    let file = "[results]\nclickhouse = \"http://ann:hush@one:8123/runs\"\n";
    let variable = ("TRADEFLOW_CLICKHOUSE", "http://ann:hush@two:8123");
    let section = ("TRADEFLOW__RESULTS__CLICKHOUSE", "http://ann:hush@three:8123/x");
    assert_eq!(url("", &[]), None);
    assert_eq!(url(file, &[]).as_deref(), Some("http://one:8123/runs"));
    assert_eq!(url("", &[variable]).as_deref(), Some("http://two:8123/tradeflow"));
    assert_eq!(url(file, &[variable]).as_deref(), Some("http://one:8123/runs"));
    assert_eq!(url(file, &[variable, section]).as_deref(), Some("http://three:8123/x"));
    assert_eq!(url("[results]\nclickhouse = \"none\"\n", &[variable]), None);
    assert_eq!(url("", &[("TRADEFLOW_CLICKHOUSE", "")]), None);
    let problems = told(read("", &[("TRADEFLOW_CLICKHOUSE", "ftp://ann:hush@two")]).unwrap_err());
    assert!(problems[0].starts_with("TRADEFLOW_CLICKHOUSE: results.clickhouse: "), "{problems:?}");
    assert!(!problems[0].contains("hush"), "{problems:?}");
}

#[test]
fn problems_of_the_environment_name_the_variable_and_no_secret() {
    let given = [
        ("TRADEFLOW__NODE__LISTEN", "8080"),
        ("TRADEFLOW__NODE", "5"),
        ("TRADEFLOW__NODE__NOD", "5"),
        ("TRADEFLOW__ACCOUNTS__2__ID", "x"),
        ("TRADEFLOW__", "x"),
        ("TRADEFLOW__FEEDS__FINNHUB__KEY", "[\"s3cr3t\"]"),
    ];
    let told = told(ServeConfig::read(None, variables(&given)).unwrap_err());
    for name in ["NODE__LISTEN", "NODE__NOD", "ACCOUNTS__2__ID", "", "FEEDS__FINNHUB__KEY"] {
        let place = format!("TRADEFLOW__{name}: ");
        assert!(told.iter().any(|t| t.starts_with(&place)), "{place} {told:#?}");
    }
    assert!(!told.iter().any(|t| t.contains("s3cr3t")), "{told:#?}");
}

#[test]
fn amounts_are_exact() {
    let exact = "[[accounts]]\nbalance = 0.1234567890123\n";
    assert_eq!(read(exact, &[]).unwrap().accounts[0].balance.get().to_string(), "0.1234567890123");
    let long = "[[accounts]]\nbalance = 123456789.123456789123\n";
    let problems = told(read(long, &[]).unwrap_err());
    assert!(problems[0].contains("put it in quotes"), "{problems:?}");
    let quoted = "[[accounts]]\nbalance = \"123456789.123456789123\"\n";
    assert!(read(quoted, &[]).is_ok());
}

#[test]
fn bars_are_of_the_middle_where_there_are_only_quotes() {
    let text = BTC.to_owned()
        + "trades = false\nquotes = true\n[[accounts]]\n[[accounts.strategies]]\nkind = \"sma_cross\"\n";
    let plan = plan(&read(&text, &[]).unwrap()).unwrap();
    let mid = SeriesKind::Bars { interval: Interval::MINUTE, price_type: PriceType::Mid };
    let series = plan.series_of(InstrumentId(0), mid).unwrap();
    assert_eq!(plan.accounts[0].strategies[0].series, [series]);
    assert_eq!(plan.series_of(InstrumentId(0), SeriesKind::Trades), None);
}

#[test]
fn a_feed_is_subscribed_to_what_names_it() {
    let text = format!(
        "{BTC}[[instruments]]\nsymbol = \"ETHUSD\"\nclass = \"crypto-spot\"\nprice_scale = 2\nsize_scale = 6\nbase = \"ETH\"\nquote = \"USD\"\n"
    );
    let config = read(&text, &[]).unwrap();
    let plan = plan(&config).unwrap();
    let list = config.watchlist(FeedName::Binance, &plan.run.instruments);
    assert_eq!(list.watches.len(), 1);
    assert_eq!((list.watches[0].vendor_symbol.as_str(), list.watches[0].trades), ("BTCUSDT", true));
    assert!(config.watchlist(FeedName::Finnhub, &plan.run.instruments).watches.is_empty());
}

#[test]
fn a_file_that_is_none_is_told_and_not_a_panic() {
    for (bytes, part) in [
        (&b"a = \xff\n"[..], "serve.toml:1: is not UTF-8"),
        (b"[node\n", "serve.toml:1: "),
        (b"\n\n= 5\n", "serve.toml:3: "),
        (b"[node]\narbiters = 99999999999999999999\n", "serve.toml:2: "),
        (b"[[accounts]]\nbalance = inf\n", "serve.toml:2: "),
        (b"node = 5\n", "serve.toml:1: node: "),
        (b"accounts = { id = 1 }\n", "serve.toml:1: accounts: "),
    ] {
        let told = told(ServeConfig::read(Some(("serve.toml", bytes)), []).unwrap_err());
        assert!(told[0].starts_with(part), "{part}: {told:?}");
    }
    let deep = format!("{}x = 1\n", "a.".repeat(200_000));
    assert!(read(&deep, &[]).is_err());
    let nested = format!("x = {}\n", "[".repeat(200_000));
    assert!(read(&nested, &[]).is_err());
    let missing = ServeConfig::load(Some(Path::new("no/such/file.toml")), &[]).unwrap_err();
    assert!(missing.to_string().contains("no/such/file.toml"), "{missing}");
}

/// Lines of a configuration, right and wrong ones.
fn lines() -> impl Strategy<Value = String> {
    let table = prop::sample::select(vec![
        "[node]",
        "[bus]",
        "[bus.retention]",
        "[bus.settings]",
        "[[instruments]]",
        "[[accounts]]",
        "[accounts.risk]",
        "[[accounts.strategies]]",
        "[accounts.venue.fees]",
        "[feeds.finnhub]",
        "[recorder]",
        "[log]",
        "[x]",
    ]);
    let key = prop::sample::select(vec![
        "listen",
        "arbiters",
        "symbol",
        "id",
        "kind",
        "balance",
        "params.fast",
        "age",
        "bars",
        "fees",
        "key",
        "level",
        "symbols",
        "leverage",
        "feed",
        "quotes",
        "accounts",
        "size",
        "data",
        "taker_bps",
    ]);
    let value = prop::sample::select(vec![
        "\"a\"",
        "1",
        "-1",
        "1.5",
        "true",
        "[]",
        "{}",
        "\"1m\"",
        "[\"BTCUSD\"]",
        "\"cash\"",
        "\"sma_cross\"",
        "\"BTCUSD\"",
        "1e300",
        "nan",
        "2024-01-01",
        "[{}]",
        "\"7d\"",
        "'\u{0}'",
    ]);
    let line = prop_oneof![
        table.prop_map(str::to_owned),
        (key, value).prop_map(|(key, value)| format!("{key} = {value}")),
    ];
    prop::collection::vec(line, 0..20).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = ServeConfig::read(Some(("x", &bytes)), []);
    }

    #[test]
    fn no_lines_panic_and_each_problem_has_a_place(text in lines()) {
        if let Err(problems) = read(&text, &[]) {
            prop_assert!(!problems.0.is_empty());
            for problem in problems.0 {
                prop_assert!(problem.to_string().starts_with("serve.toml:"), "{problem} in\n{text}");
            }
        }
    }

    #[test]
    fn no_variable_panics(name in "(NODE|ACCOUNTS|BUS|FEEDS|[0-9]{1,20}|[A-Z]*)(__([0-9]{1,2}|ID|[A-Z_]{0,8})){0,4}", value in any::<String>()) {
        let name = format!("TRADEFLOW__{name}");
        let _ = ServeConfig::read(None, [(name, value)]);
    }
}

#[test]
fn flags_go_before_everything_and_are_checked_with_it() {
    let flags = [("--data", ["node", "data"], "elsewhere"), ("--kafka", ["bus", "kafka"], "broker:9092")];
    let config = ServeConfig::load(None, &flags).unwrap();
    assert_eq!((config.node.data.as_str(), config.bus.kafka.as_deref()), ("elsewhere", Some("broker:9092")));
    let wrong = ServeConfig::load(None, &[("--prefix", ["bus", "prefix"], "Not A Prefix")]).unwrap_err();
    assert!(wrong.to_string().starts_with("--prefix: "), "{wrong}");
}
