-- A row for each run, written last: the rows of the other tables count through its `content` alone.
-- The same run uploaded again replaces its row; of two results of one plan the one that finished later stays.
CREATE TABLE IF NOT EXISTS runs
(
    run            String,
    content        String,
    finished       DateTime64(9, 'UTC'),
    version        LowCardinality(String),
    digest         String,
    config_digest  String,
    data_digest    String,
    seed           UInt64,
    completed      Bool,
    period_from    DateTime64(9, 'UTC'),
    period_to      DateTime64(9, 'UTC'),
    symbols        Array(String),
    accounts       Array(String),
    kinds          Array(String),
    params         Array(String),
    strategies     String,
    currency       Nullable(String),
    bars           UInt64,
    ticks          UInt64,
    orders         UInt64,
    fills          UInt64,
    trades         UInt64,
    initial_equity Decimal(38, 18),
    final_equity   Decimal(38, 18),
    fees           Decimal(38, 18),
    total_return   Nullable(Float64),
    cagr           Nullable(Float64),
    volatility     Nullable(Float64),
    sharpe         Nullable(Float64),
    sortino        Nullable(Float64),
    max_drawdown   Nullable(Float64),
    win_rate       Nullable(Float64),
    profit_factor  Nullable(Float64),
    seconds        Float64,
    summary        String CODEC(ZSTD)
)
ENGINE = ReplacingMergeTree(finished)
ORDER BY run
