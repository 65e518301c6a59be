-- Jobs are found by their id, which ends with the time it was made at: entries of jobs that come together lie together.
DROP INDEX jobs_id;
CREATE UNIQUE INDEX jobs_id ON jobs (substr(id, -15), id);
