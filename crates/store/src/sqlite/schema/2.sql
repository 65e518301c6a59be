-- The outbox of webhooks: one row for each end of a job that has one, kept as long as the job. `n` is the job's
-- seq at that end; `next_at` is NULL once the delivery is settled; `record` is the whole delivery as JSON. While
-- one is pending, the ended job's `due_at` is not before `made_at` and a day.
CREATE TABLE deliveries (
    n           INTEGER PRIMARY KEY,
    id          TEXT    NOT NULL,
    job         INTEGER NOT NULL,
    destination TEXT    NOT NULL,
    made_at     INTEGER NOT NULL,
    next_at     INTEGER,
    record      TEXT    NOT NULL
) STRICT;
CREATE UNIQUE INDEX deliveries_id ON deliveries (id);
CREATE INDEX deliveries_of_job ON deliveries (job);
CREATE INDEX deliveries_pending ON deliveries (next_at, n, destination) WHERE next_at IS NOT NULL;
