-- What was counted and measured. `grain` is an interval's length in seconds, 10, 60 or 600, and 0 of what was ever
-- counted; `at` is where it begins; `record` is the rest of it as JSON. The numbers `metrics_60` and `metrics_600` say
-- up to where intervals of that length were made of shorter ones.
CREATE TABLE metrics (
    subject TEXT    NOT NULL,
    grain   INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    record  TEXT    NOT NULL,
    PRIMARY KEY (subject, grain, at)
) STRICT, WITHOUT ROWID;
CREATE INDEX metrics_by_time ON metrics (grain, at);
