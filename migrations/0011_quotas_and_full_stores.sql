-- What studies may ask for in all, and studies that pause by themselves because there is no space.
ALTER TABLE trawl_store.studies
    ADD COLUMN epochs_asked bigint NOT NULL DEFAULT 0 CHECK (epochs_asked >= 0),
    ADD COLUMN pause_reason text,
    ADD CONSTRAINT studies_reason_of_a_pause CHECK (pause_reason IS NULL OR state = 'paused');
-- What older studies asked for is not written down but in their files; what they left is the least that it can be.
UPDATE trawl_store.studies SET epochs_asked = epochs_reported;
ALTER TABLE trawl_store.studies ALTER COLUMN epochs_asked DROP DEFAULT;
COMMENT ON COLUMN trawl_store.studies.epochs_asked IS 'Epoch reports that it may leave at most, its refits included: what counts against the quota.';
COMMENT ON COLUMN trawl_store.studies.pause_reason IS 'Why it paused by itself; null where a user paused it.';

CREATE OR REPLACE VIEW trawl.studies AS
SELECT s.study_id, s.name, s.state, s.seed, s.goal,
       s.max_trials AS trials_total, s.trials_completed, s.trials_pruned, s.trials_failed,
       best.trial AS best_trial, best.value AS best_value,
       s.created_at, s.finished_at, s.error, s.pause_reason
FROM trawl_store.studies s
LEFT JOIN LATERAL (
    SELECT t.trial, t.value
    FROM trawl_store.trials t
    WHERE t.study_id = s.study_id AND t.state = 'completed'
    ORDER BY t.rank_key, t.trial
    LIMIT 1
) best ON true
WHERE s.deleted_at IS NULL;
