CREATE TABLE IF NOT EXISTS fills
(
    run       String,
    content   String,
    row       UInt64,
    account   LowCardinality(String),
    order_id  Int64,
    strategy  Nullable(String),
    symbol    LowCardinality(String),
    ts        DateTime64(9, 'UTC'),
    ts_init   DateTime64(9, 'UTC'),
    side      LowCardinality(String),
    price     Decimal(38, 18),
    quantity  Decimal(38, 18),
    fee       Decimal(38, 18),
    liquidity LowCardinality(String)
)
ENGINE = ReplacingMergeTree
ORDER BY (run, content, row)
