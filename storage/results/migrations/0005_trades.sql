CREATE TABLE IF NOT EXISTS trades
(
    run         String,
    content     String,
    row         UInt64,
    account     LowCardinality(String),
    trade_id    Int64,
    strategy    Nullable(String),
    symbol      LowCardinality(String),
    side        LowCardinality(String),
    quantity    Decimal(38, 18),
    entry_time  DateTime64(9, 'UTC'),
    exit_time   Nullable(DateTime64(9, 'UTC')),
    entry_price Decimal(38, 18),
    exit_price  Nullable(Decimal(38, 18)),
    pnl         Nullable(Decimal(38, 18)),
    fees        Decimal(38, 18),
    dividends   Decimal(38, 18),
    pnl_net     Nullable(Decimal(38, 18)),
    open        Bool
)
ENGINE = ReplacingMergeTree
ORDER BY (run, content, row)
