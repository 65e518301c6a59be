-- Logins for registries of images. `record` is the whole login as JSON; the password in it is sealed.
CREATE TABLE registries (
    name   TEXT NOT NULL PRIMARY KEY,
    record TEXT NOT NULL
) STRICT, WITHOUT ROWID;
