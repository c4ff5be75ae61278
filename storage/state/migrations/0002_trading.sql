-- Read models: what is on the bus, as tables. They are emptied and made anew by `tradeflow state rebuild`. Decimals are
-- texts, exactly as on the bus.

CREATE TABLE orders (
    account TEXT NOT NULL,
    order_id BIGINT NOT NULL,
    session TEXT NOT NULL,
    symbol TEXT NOT NULL,
    strategy TEXT,
    side TEXT NOT NULL,
    kind TEXT NOT NULL,
    qty TEXT NOT NULL,
    price TEXT,
    stop_trigger TEXT,
    filled TEXT NOT NULL,
    average_price TEXT,
    time_in_force TEXT NOT NULL,
    expires BIGINT,
    execution TEXT NOT NULL,
    reduce_only BIGINT NOT NULL,
    post_only BIGINT NOT NULL,
    parent BIGINT,
    status TEXT NOT NULL,
    reason TEXT,
    created BIGINT NOT NULL,
    updated BIGINT NOT NULL,
    PRIMARY KEY (account, order_id)
);
CREATE INDEX orders_created ON orders (account, created);

-- What happened to each order.
CREATE TABLE order_events (
    account TEXT NOT NULL,
    seq BIGINT NOT NULL,
    order_id BIGINT NOT NULL,
    event TEXT NOT NULL,
    status TEXT NOT NULL,
    reason TEXT,
    filled TEXT NOT NULL,
    ts BIGINT NOT NULL,
    PRIMARY KEY (account, seq)
);
CREATE INDEX order_events_order ON order_events (account, order_id);

CREATE TABLE fills (
    account TEXT NOT NULL,
    seq BIGINT NOT NULL,
    order_id BIGINT NOT NULL,
    session TEXT NOT NULL,
    symbol TEXT NOT NULL,
    strategy TEXT,
    side TEXT NOT NULL,
    price TEXT NOT NULL,
    qty TEXT NOT NULL,
    fee TEXT NOT NULL,
    liquidity TEXT NOT NULL,
    position_qty TEXT NOT NULL,
    cash TEXT NOT NULL,
    ts BIGINT NOT NULL,
    PRIMARY KEY (account, seq)
);
CREATE INDEX fills_ts ON fills (account, ts);
CREATE INDEX fills_order ON fills (account, order_id);

-- As the last fill left them.
CREATE TABLE positions (
    account TEXT NOT NULL,
    symbol TEXT NOT NULL,
    qty TEXT NOT NULL,
    cost TEXT NOT NULL,
    realized TEXT NOT NULL,
    fees TEXT NOT NULL,
    updated BIGINT NOT NULL,
    PRIMARY KEY (account, symbol)
);

-- Round trips. The number is that of the fill that ended it.
CREATE TABLE trades (
    account TEXT NOT NULL,
    seq BIGINT NOT NULL,
    session TEXT NOT NULL,
    symbol TEXT NOT NULL,
    strategy TEXT,
    side TEXT NOT NULL,
    qty TEXT NOT NULL,
    entry_time BIGINT NOT NULL,
    exit_time BIGINT NOT NULL,
    entry_price TEXT NOT NULL,
    exit_price TEXT NOT NULL,
    pnl TEXT NOT NULL,
    fees TEXT NOT NULL,
    dividends TEXT NOT NULL,
    pnl_net TEXT NOT NULL,
    PRIMARY KEY (account, seq)
);
CREATE INDEX trades_exit ON trades (account, exit_time);

CREATE TABLE equity (
    account TEXT NOT NULL,
    ts BIGINT NOT NULL,
    cash TEXT NOT NULL,
    equity TEXT NOT NULL,
    PRIMARY KEY (account, ts)
);

-- How far the bus has been read into the tables above.
CREATE TABLE projections (
    topic TEXT NOT NULL,
    shard BIGINT NOT NULL,
    next_offset BIGINT NOT NULL,
    -- The first session of that bus: its name.
    origin TEXT NOT NULL,
    PRIMARY KEY (topic, shard)
);

-- What people keep with a trade; it outlives a rebuild.
CREATE TABLE trade_notes (
    account TEXT NOT NULL,
    seq BIGINT NOT NULL,
    note TEXT NOT NULL,
    PRIMARY KEY (account, seq)
);
CREATE TABLE trade_tags (
    account TEXT NOT NULL,
    seq BIGINT NOT NULL,
    tag TEXT NOT NULL,
    PRIMARY KEY (account, seq, tag)
);
