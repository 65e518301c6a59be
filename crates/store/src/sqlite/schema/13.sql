-- Inputs that people keep with an endpoint under a name; `record` is all of it as JSON.
CREATE TABLE examples (
    endpoint TEXT NOT NULL,
    name     TEXT NOT NULL,
    record   TEXT NOT NULL,
    PRIMARY KEY (endpoint, name)
) STRICT, WITHOUT ROWID;
