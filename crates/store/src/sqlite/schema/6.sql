-- Connections of endpoints with Git repositories, at most one of each. `record` is the whole connection as JSON; what
-- is secret in it is sealed.
CREATE TABLE connections (
    id       TEXT    NOT NULL PRIMARY KEY,
    endpoint TEXT    NOT NULL,
    record   TEXT    NOT NULL
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX connections_of_endpoint ON connections (endpoint);
