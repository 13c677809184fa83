-- Workers that do not tell the truth: an id belongs to whoever registered it, and what is not covered by a checkpoint goes when a
-- job changes hands.
ALTER TABLE trawl_store.workers ADD COLUMN registered_by text;
COMMENT ON COLUMN trawl_store.workers.registered_by IS 'Whose id it is: a token by its id, operator or worker for those that the coordinator was started with; null where no token was asked for.';

ALTER TABLE trawl_store.folds ADD COLUMN diverged_at integer CHECK (diverged_at >= 0);
COMMENT ON COLUMN trawl_store.folds.diverged_at IS 'The epoch that it diverged in, from 0; null if it did not.';

-- Workers that have been gone for long are removed, and attempts stay as long as their study does.
ALTER TABLE trawl_store.job_attempts DROP CONSTRAINT job_attempts_worker_id_fkey;
COMMENT ON TABLE  trawl_store.job_attempts IS 'Leases that were granted, with how they ended: all that failed, and of those that were handed back the last hundred of each job.';
COMMENT ON COLUMN trawl_store.job_attempts.worker_id IS 'Who held it; the worker itself may have been removed since.';
COMMENT ON TABLE  trawl_store.tokens IS 'Tokens that were made, and for 90 days those that have ended: a record of who had access. Once there is a row, no call is answered without a token, so the newest one stays.';
