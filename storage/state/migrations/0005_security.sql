-- Secrets are sealed: AES-256-GCM under the key of this id, bound to the row that they stand in.

-- What an account gives to a broker.
CREATE TABLE broker_credentials (
    account TEXT NOT NULL,
    broker TEXT NOT NULL,
    name TEXT NOT NULL,
    key_id TEXT NOT NULL,
    ciphertext TEXT NOT NULL,
    created BIGINT NOT NULL,
    -- When the secret was given last.
    rotated BIGINT NOT NULL,
    PRIMARY KEY (account, broker, name)
);

-- Authenticators (RFC 6238). One that is not confirmed asks for nothing yet.
CREATE TABLE second_factors (
    user_id TEXT PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    key_id TEXT NOT NULL,
    ciphertext TEXT NOT NULL,
    created BIGINT NOT NULL,
    confirmed BIGINT NOT NULL DEFAULT 0,
    -- The step of the last code that was taken: codes of it and before it are spent.
    step BIGINT NOT NULL DEFAULT 0
);

-- What opens a log-in when the authenticator is lost; each once.
CREATE TABLE recovery_codes (
    hash TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE
);
CREATE INDEX recovery_codes_user ON recovery_codes (user_id);

-- Users as other providers of log-ins know them.
CREATE TABLE identities (
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created BIGINT NOT NULL,
    PRIMARY KEY (issuer, subject)
);
CREATE INDEX identities_user ON identities (user_id);

-- Log-ins by a provider that have begun. `begun_by` is the user who links his own.
CREATE TABLE provider_logins (
    state_hash TEXT PRIMARY KEY,
    provider TEXT NOT NULL,
    nonce TEXT NOT NULL,
    verifier TEXT NOT NULL,
    target TEXT,
    begun_by TEXT,
    expires BIGINT NOT NULL
);
