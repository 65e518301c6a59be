-- A job's hot row. `n` is its first seq and so its place among all submissions, never reused; `seq` is its
-- place in the queue, new after a retry. `header` is the whole job as JSON; the columns beside it are what it
-- is found by. `lane`: the release a test is pinned to, -2 normal, -1 low priority. `standing`: 0 waiting,
-- 1 running, 2 completed, 3 failed, 4 cancelled, 5 timed out.
CREATE TABLE jobs (
    n            INTEGER PRIMARY KEY,
    id           TEXT    NOT NULL,
    endpoint     TEXT    NOT NULL,
    lane         INTEGER NOT NULL,
    standing     INTEGER NOT NULL,
    seq          INTEGER NOT NULL,
    worker       TEXT,
    due_at       INTEGER NOT NULL,
    submitted_at INTEGER NOT NULL,
    header       TEXT    NOT NULL
) STRICT;
CREATE UNIQUE INDEX jobs_id ON jobs (id);
CREATE INDEX jobs_waiting ON jobs (endpoint, lane, seq) WHERE standing = 0;
CREATE INDEX jobs_running ON jobs (worker) WHERE standing = 1;
CREATE INDEX jobs_due ON jobs (due_at);
CREATE INDEX jobs_of_endpoint ON jobs (endpoint, submitted_at);
CREATE INDEX jobs_by_time ON jobs (submitted_at);
CREATE INDEX jobs_ended_badly ON jobs (endpoint, standing, submitted_at) WHERE standing > 2;

-- Single payloads of a job: id = 4 * n + kind; kinds: 0 input, 1 s3, 2 output, 3 progress. Either bytes or
-- the name of a file.
CREATE TABLE payloads (
    id    INTEGER PRIMARY KEY,
    bytes BLOB,
    file  TEXT,
    len   INTEGER NOT NULL
) STRICT;
CREATE INDEX payload_files ON payloads (file) WHERE file IS NOT NULL;

-- Streams: how many chunks there are and how many of them were delivered. A job has a row here from its first
-- chunk on.
CREATE TABLE streams (
    job       INTEGER PRIMARY KEY,
    chunks    INTEGER NOT NULL,
    delivered INTEGER NOT NULL
) STRICT;
CREATE TABLE chunks (
    job   INTEGER NOT NULL,
    place INTEGER NOT NULL,
    bytes BLOB,
    file  TEXT,
    len   INTEGER NOT NULL,
    PRIMARY KEY (job, place)
) STRICT, WITHOUT ROWID;
CREATE INDEX chunk_files ON chunks (file) WHERE file IS NOT NULL;

-- The last chunk number that each incarnation sent, kept as long as the job.
CREATE TABLE chunk_numbers (
    job    INTEGER NOT NULL,
    worker TEXT    NOT NULL,
    last   INTEGER NOT NULL,
    PRIMARY KEY (job, worker)
) STRICT, WITHOUT ROWID;

CREATE TABLE idempotency (
    endpoint TEXT    NOT NULL,
    key      TEXT    NOT NULL,
    job      INTEGER NOT NULL,
    PRIMARY KEY (endpoint, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_of_job ON idempotency (job);

CREATE TABLE counts (
    endpoint  TEXT PRIMARY KEY,
    completed INTEGER NOT NULL,
    failed    INTEGER NOT NULL,
    retried   INTEGER NOT NULL,
    cancelled INTEGER NOT NULL,
    waiting   INTEGER NOT NULL,
    running   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The control plane's records: JSON documents with the keys they are looked up by.
CREATE TABLE endpoints (
    id     TEXT PRIMARY KEY,
    name   TEXT NOT NULL,
    record TEXT NOT NULL
) STRICT;
CREATE TABLE releases (
    endpoint TEXT    NOT NULL,
    number   INTEGER NOT NULL,
    record   TEXT    NOT NULL,
    PRIMARY KEY (endpoint, number)
) STRICT;
CREATE TABLE workers (
    id         TEXT PRIMARY KEY,
    endpoint   TEXT    NOT NULL,
    gone       INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    record     TEXT    NOT NULL
) STRICT;
CREATE INDEX workers_of_endpoint ON workers (endpoint, gone, created_at, id);
CREATE INDEX workers_by_time ON workers (gone, created_at, id);
CREATE TABLE keys (
    id         TEXT PRIMARY KEY,
    created_at INTEGER NOT NULL,
    record     TEXT    NOT NULL
) STRICT;

-- Numbers that must not go back, also when the rows that carried them are gone.
CREATE TABLE numbers (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT;
