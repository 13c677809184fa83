-- Attempts that failed tell why: each cause has a number of attempts of its own.
ALTER TABLE trawl_store.job_attempts
    ADD COLUMN cause text CHECK (cause IN ('worker_lost', 'out_of_memory', 'bad_input', 'error'));
UPDATE trawl_store.job_attempts
SET cause = CASE outcome WHEN 'expired' THEN 'worker_lost' ELSE 'error' END
WHERE outcome IN ('failed', 'expired');
ALTER TABLE trawl_store.job_attempts
    ADD CONSTRAINT job_attempts_cause_of_failure CHECK ((cause IS NULL) = (outcome IS NULL OR outcome NOT IN ('failed', 'expired')));
COMMENT ON COLUMN trawl_store.job_attempts.cause IS 'Sort of what went wrong, for an attempt that failed or expired.';
