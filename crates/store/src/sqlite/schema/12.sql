-- Failures of endpoints by fingerprint. `last_at` is when the newest was; `record` is the whole group as JSON.
CREATE TABLE failures (
    endpoint    TEXT    NOT NULL,
    fingerprint TEXT    NOT NULL,
    last_at     INTEGER NOT NULL,
    record      TEXT    NOT NULL,
    PRIMARY KEY (endpoint, fingerprint)
) STRICT, WITHOUT ROWID;
