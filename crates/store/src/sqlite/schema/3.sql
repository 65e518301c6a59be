-- Jobs in the list of a worker that has not come to them: `standing` -1. For clients they wait.
CREATE INDEX jobs_held ON jobs (worker, seq) WHERE standing = -1;
