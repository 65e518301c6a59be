-- Templates, network volumes and other records that endpoints share. `record` is the whole as JSON, with its kind.
CREATE TABLE resources (
    id     TEXT NOT NULL PRIMARY KEY,
    record TEXT NOT NULL
) STRICT, WITHOUT ROWID;
