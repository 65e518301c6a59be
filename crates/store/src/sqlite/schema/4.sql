-- Batches: jobs that are gathered, run and kept together. `n` is their order; `active` is 1 for drafts and those that
-- run; `record` is the whole batch as JSON. Jobs of drafts have `standing` 6.
CREATE TABLE batches (
    n        INTEGER PRIMARY KEY,
    id       TEXT    NOT NULL,
    endpoint TEXT    NOT NULL,
    active   INTEGER NOT NULL,
    due_at   INTEGER NOT NULL,
    record   TEXT    NOT NULL
) STRICT;
CREATE UNIQUE INDEX batches_id ON batches (id);
CREATE INDEX batches_of_endpoint ON batches (endpoint);
CREATE INDEX batches_active ON batches (endpoint) WHERE active = 1;
CREATE INDEX batches_due ON batches (due_at);

ALTER TABLE jobs ADD COLUMN batch TEXT;
CREATE INDEX jobs_of_batch ON jobs (batch) WHERE batch IS NOT NULL;
CREATE INDEX jobs_of_batch_standing ON jobs (batch, standing) WHERE batch IS NOT NULL;

-- The idempotency keys of calls that made a batch (`scope` is the endpoint) or added to one (`scope` is the batch):
-- the jobs of such a call are those of the batch with `n` from `first` on, `count` of them.
CREATE TABLE batch_calls (
    scope TEXT    NOT NULL,
    key   TEXT    NOT NULL,
    batch TEXT    NOT NULL,
    first INTEGER NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (scope, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX batch_calls_of_batch ON batch_calls (batch);
