-- Members. `record` is the whole record as JSON.
CREATE TABLE members (
    id     TEXT NOT NULL PRIMARY KEY,
    record TEXT NOT NULL
) STRICT, WITHOUT ROWID;
