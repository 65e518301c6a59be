-- When a job ended: lists of jobs by their end. The index grows at its end alone, and answers which jobs without a look
-- at their rows.
ALTER TABLE jobs ADD COLUMN ended_at INTEGER;
UPDATE jobs SET ended_at = json_extract(header, '$.phase.at') WHERE standing BETWEEN 2 AND 5;
CREATE INDEX jobs_ended ON jobs (ended_at, endpoint, standing, lane, submitted_at) WHERE ended_at IS NOT NULL;
