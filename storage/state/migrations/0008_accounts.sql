-- What people say of accounts that were opened over the API. What an account trades stands in the session on the bus.
CREATE TABLE accounts (
    account TEXT PRIMARY KEY,
    label TEXT NOT NULL,
    opened_by TEXT REFERENCES users (id) ON DELETE SET NULL,
    created BIGINT NOT NULL
);
CREATE INDEX accounts_opened_by ON accounts (opened_by);

-- How a strategy of an account was started, each time that something of it was otherwise.
CREATE TABLE strategy_versions (
    account TEXT NOT NULL,
    strategy TEXT NOT NULL,
    version BIGINT NOT NULL,
    -- Kind, parameters, symbols, data and size, as JSON.
    request TEXT NOT NULL,
    created BIGINT NOT NULL,
    -- Whose; none for the configuration's.
    user_id TEXT,
    PRIMARY KEY (account, strategy, version)
);
