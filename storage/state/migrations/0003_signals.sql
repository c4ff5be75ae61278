-- Keys with which webhooks send: each is of a user and an account. Of the secret a hash is kept.
CREATE TABLE webhook_keys (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    hash TEXT NOT NULL UNIQUE,
    -- Its first characters, to tell keys apart.
    hint TEXT NOT NULL,
    account TEXT NOT NULL,
    -- Whether its signals are executed as they come, or wait for someone.
    auto_execute BIGINT NOT NULL,
    -- Of positions, where neither signal nor strategy says.
    default_size TEXT,
    -- Alerts that are older are refused, in nanoseconds.
    max_age BIGINT NOT NULL,
    created BIGINT NOT NULL,
    used BIGINT
);
CREATE INDEX webhook_keys_user ON webhook_keys (user_id);

-- What came, whatever became of it. Bodies are kept without secrets.
CREATE TABLE webhook_log (
    id TEXT PRIMARY KEY,
    ts BIGINT NOT NULL,
    route TEXT NOT NULL,
    key_id TEXT,
    user_id TEXT,
    address TEXT NOT NULL,
    status BIGINT NOT NULL,
    outcome TEXT NOT NULL,
    signal_id TEXT,
    body TEXT NOT NULL
);
CREATE INDEX webhook_log_ts ON webhook_log (ts);
CREATE INDEX webhook_log_user ON webhook_log (user_id, id);

-- Alerts of late, by a hash: one that comes again is the same.
CREATE TABLE webhook_seen (
    hash TEXT PRIMARY KEY,
    ts BIGINT NOT NULL,
    signal_id TEXT NOT NULL
);
CREATE INDEX webhook_seen_ts ON webhook_seen (ts);

-- Signals from outside, with what became of each.
CREATE TABLE signals (
    id TEXT PRIMARY KEY,
    account TEXT NOT NULL,
    user_id TEXT NOT NULL,
    source TEXT NOT NULL,
    strategy_id TEXT NOT NULL,
    strategy_version TEXT NOT NULL,
    strategy_name TEXT NOT NULL,
    symbol TEXT NOT NULL,
    side TEXT NOT NULL,
    size TEXT,
    price TEXT,
    limit_price TEXT,
    stop_loss TEXT,
    take_profit TEXT,
    ts_event BIGINT NOT NULL,
    expires BIGINT,
    created BIGINT NOT NULL,
    -- `new` (it waits for someone), `queued` (it is being executed), `executed`, `refused`, `expired`, `cancelled`.
    status TEXT NOT NULL,
    reason TEXT,
    -- With blanks between.
    order_ids TEXT NOT NULL,
    decided BIGINT
);
CREATE INDEX signals_account ON signals (account, created);
CREATE INDEX signals_status ON signals (status);
