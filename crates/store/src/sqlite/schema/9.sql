-- Secrets, and the keys that seal them. `record` is the whole record as JSON: of a secret its sealed value is part, of
-- a data key the key itself, wrapped by the key in the key file.
CREATE TABLE secrets (
    name   TEXT NOT NULL PRIMARY KEY,
    record TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE data_keys (
    id     TEXT NOT NULL PRIMARY KEY,
    record TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- The audit log. `n` is a record's place; `record` is the rest of it as JSON.
CREATE TABLE audit (
    n        INTEGER PRIMARY KEY,
    at       INTEGER NOT NULL,
    endpoint TEXT,
    record   TEXT    NOT NULL
) STRICT;
CREATE INDEX audit_by_time ON audit (at);
CREATE INDEX audit_of_endpoint ON audit (endpoint, n) WHERE endpoint IS NOT NULL;
