-- Work that takes long: it is queued, and done by a node that has room for it.
CREATE TABLE jobs (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    -- What is wanted, as the job's kind has it.
    request TEXT NOT NULL,
    -- `queued`, `running`, `done`, `failed`, `cancelled`.
    status TEXT NOT NULL,
    created BIGINT NOT NULL,
    started BIGINT,
    ended BIGINT,
    -- Of so much, so much is done.
    progress BIGINT NOT NULL,
    total BIGINT NOT NULL,
    -- Who does it, and until when no one else may.
    node TEXT,
    lease BIGINT NOT NULL,
    error TEXT,
    -- What came of it, as JSON.
    result TEXT
);
CREATE INDEX jobs_user ON jobs (user_id, id);
CREATE INDEX jobs_status ON jobs (status, id);
