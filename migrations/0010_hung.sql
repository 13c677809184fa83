-- A training that hangs is a cause of its own.
ALTER TABLE trawl_store.job_attempts
    DROP CONSTRAINT job_attempts_cause_check,
    ADD CONSTRAINT job_attempts_cause_check CHECK (cause IN ('worker_lost', 'out_of_memory', 'hung', 'bad_input', 'error'));
