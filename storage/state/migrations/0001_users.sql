-- One SQL for SQLite and PostgreSQL: texts, whole numbers (times are nanoseconds since 1970-01-01 UTC, yes and no are 1
-- and 0), no functions of one of them alone.

CREATE TABLE users (
    id TEXT PRIMARY KEY,
    email TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    -- Argon2id, as a PHC string.
    password TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('viewer', 'trader', 'manager', 'administrator')),
    disabled BIGINT NOT NULL DEFAULT 0,
    created BIGINT NOT NULL,
    failed_logins BIGINT NOT NULL DEFAULT 0,
    locked_until BIGINT NOT NULL DEFAULT 0
);

-- A log-in. Of tokens the hashes alone are kept.
CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    access_hash TEXT NOT NULL UNIQUE,
    access_expires BIGINT NOT NULL,
    refresh_hash TEXT NOT NULL UNIQUE,
    expires BIGINT NOT NULL,
    csrf_hash TEXT NOT NULL,
    created BIGINT NOT NULL,
    used BIGINT NOT NULL,
    address TEXT NOT NULL,
    agent TEXT NOT NULL
);
CREATE INDEX sessions_user ON sessions (user_id);

-- Refresh tokens that were exchanged: one that comes again was stolen.
CREATE TABLE spent_tokens (
    hash TEXT PRIMARY KEY,
    session_id TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    spent BIGINT NOT NULL
);
CREATE INDEX spent_tokens_session ON spent_tokens (session_id);

CREATE TABLE reset_tokens (
    hash TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    expires BIGINT NOT NULL
);
CREATE INDEX reset_tokens_user ON reset_tokens (user_id);

CREATE TABLE api_keys (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    hash TEXT NOT NULL UNIQUE,
    -- Its first characters, to tell keys apart.
    hint TEXT NOT NULL,
    -- With blanks between.
    scopes TEXT NOT NULL,
    created BIGINT NOT NULL,
    expires BIGINT,
    used BIGINT
);
CREATE INDEX api_keys_user ON api_keys (user_id);

-- Whom an account is shown to, beside managers and administrators.
CREATE TABLE account_access (
    account TEXT NOT NULL,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    PRIMARY KEY (account, user_id)
);
CREATE INDEX account_access_user ON account_access (user_id);

CREATE TABLE watchlists (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    created BIGINT NOT NULL,
    UNIQUE (user_id, name)
);

CREATE TABLE watchlist_items (
    watchlist_id TEXT NOT NULL REFERENCES watchlists (id) ON DELETE CASCADE,
    symbol TEXT NOT NULL,
    place BIGINT NOT NULL,
    PRIMARY KEY (watchlist_id, symbol)
);

-- What was answered to a write with an idempotency key. No answer yet: it is being done.
CREATE TABLE idempotency_keys (
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    idempotency_key TEXT NOT NULL,
    -- Of method, path and body.
    fingerprint TEXT NOT NULL,
    command_id TEXT NOT NULL,
    created BIGINT NOT NULL,
    status BIGINT,
    body TEXT,
    PRIMARY KEY (user_id, idempotency_key)
);
CREATE INDEX idempotency_keys_created ON idempotency_keys (created);

-- Who did what. Of users that are gone it stays.
CREATE TABLE audit_log (
    id TEXT PRIMARY KEY,
    ts BIGINT NOT NULL,
    user_id TEXT,
    -- Their email then, or what was given as one.
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    object TEXT NOT NULL,
    outcome TEXT NOT NULL,
    address TEXT NOT NULL
);
CREATE INDEX audit_log_ts ON audit_log (ts);
