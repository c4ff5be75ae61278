CREATE TABLE IF NOT EXISTS orders
(
    run           String,
    content       String,
    row           UInt64,
    account       LowCardinality(String),
    order_id      Int64,
    strategy      Nullable(String),
    symbol        LowCardinality(String),
    side          LowCardinality(String),
    type          LowCardinality(String),
    time_in_force LowCardinality(String),
    quantity      Decimal(38, 18),
    limit_price   Nullable(Decimal(38, 18)),
    trigger       Nullable(Decimal(38, 18)),
    reduce_only   Bool,
    parent_id     Nullable(Int64),
    status        LowCardinality(String),
    filled        Decimal(38, 18),
    average_price Nullable(Decimal(38, 18)),
    ts_submitted  DateTime64(9, 'UTC'),
    ts_closed     DateTime64(9, 'UTC'),
    reason        Nullable(String)
)
ENGINE = ReplacingMergeTree
ORDER BY (run, content, row)
