-- Events of all nodes. Later ones of a node have greater ids.
CREATE TABLE system_log (
    id TEXT PRIMARY KEY,
    ts BIGINT NOT NULL,
    node TEXT NOT NULL,
    -- 1 an error, 2 a warning, 3 information.
    level BIGINT NOT NULL,
    target TEXT NOT NULL,
    message TEXT NOT NULL,
    -- Its other fields, as a JSON object.
    fields TEXT NOT NULL
);
CREATE INDEX system_log_ts ON system_log (ts);

-- Of a command to a cell: what was sent, and the orders that it made, as a JSON object.
ALTER TABLE audit_log ADD COLUMN detail TEXT;

-- What someone wants to be told of.
CREATE TABLE alerts (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    -- The condition, as a JSON object with its `kind`.
    rule TEXT NOT NULL,
    -- The account that it is about, for conditions of an account.
    account TEXT,
    -- Whether it goes on after it has gone off, and how long it is quiet then, in nanoseconds.
    repeats BIGINT NOT NULL,
    pause BIGINT NOT NULL,
    enabled BIGINT NOT NULL,
    mail BIGINT NOT NULL,
    webhook_url TEXT,
    -- The key of its signatures.
    webhook_secret TEXT,
    created BIGINT NOT NULL,
    -- When its user changed it last: what was watched before counts no more.
    changed BIGINT NOT NULL,
    -- When it went off last, how often, and the number of the last fill that it has seen.
    fired BIGINT,
    fires BIGINT NOT NULL,
    seen BIGINT NOT NULL,
    -- How far its condition is, as a JSON object.
    progress TEXT NOT NULL
);
CREATE INDEX alerts_user ON alerts (user_id, id);
CREATE INDEX alerts_enabled ON alerts (enabled);

-- Each time an alert went off. They stay when the alert is deleted.
CREATE TABLE alert_events (
    id TEXT PRIMARY KEY,
    alert_id TEXT NOT NULL,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    ts BIGINT NOT NULL,
    node TEXT NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    message TEXT NOT NULL,
    -- What set it off, as a JSON object.
    data TEXT NOT NULL,
    -- Whether it is a trial.
    test BIGINT NOT NULL
);
CREATE INDEX alert_events_user ON alert_events (user_id, id);
CREATE INDEX alert_events_alert ON alert_events (alert_id, id);
CREATE INDEX alert_events_ts ON alert_events (ts);

-- Mails and webhooks of them.
CREATE TABLE alert_deliveries (
    event_id TEXT NOT NULL REFERENCES alert_events (id) ON DELETE CASCADE,
    -- `mail`, `webhook`.
    way TEXT NOT NULL,
    -- `waiting`, `sent`, `failed`.
    status TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    -- No one tries before; while someone does, no one else.
    due BIGINT NOT NULL,
    error TEXT,
    PRIMARY KEY (event_id, way)
);
CREATE INDEX alert_deliveries_due ON alert_deliveries (status, due);

-- What someone set; of the owner `global` for all who set nothing.
CREATE TABLE settings (
    owner TEXT NOT NULL,
    name TEXT NOT NULL,
    -- As JSON.
    value TEXT NOT NULL,
    updated BIGINT NOT NULL,
    PRIMARY KEY (owner, name)
);
