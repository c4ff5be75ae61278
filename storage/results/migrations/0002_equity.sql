-- Points of equity curves. `row` is the number of the row in the run's file: inserting it twice leaves one.
CREATE TABLE IF NOT EXISTS equity
(
    run     String,
    content String,
    row     UInt64,
    account LowCardinality(String),
    ts      DateTime64(9, 'UTC') CODEC(DoubleDelta, ZSTD),
    cash    Decimal(38, 18) CODEC(ZSTD),
    equity  Decimal(38, 18) CODEC(ZSTD)
)
ENGINE = ReplacingMergeTree
ORDER BY (run, content, row)
