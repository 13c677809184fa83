-- During an upgrade, coordinators of the version before write beside newer ones: what they do not know must not stand in their way.
ALTER TABLE trawl_store.studies
    ALTER COLUMN epochs_asked SET DEFAULT 0,
    DROP CONSTRAINT studies_reason_of_a_pause;
COMMENT ON COLUMN trawl_store.studies.pause_reason IS 'Why it paused by itself; null where a user paused it, and of no meaning in other states.';

CREATE OR REPLACE VIEW trawl.studies AS
SELECT s.study_id, s.name, s.state, s.seed, s.goal,
       s.max_trials AS trials_total, s.trials_completed, s.trials_pruned, s.trials_failed,
       best.trial AS best_trial, best.value AS best_value,
       s.created_at, s.finished_at, s.error,
       CASE WHEN s.state = 'paused' THEN s.pause_reason END AS pause_reason
FROM trawl_store.studies s
LEFT JOIN LATERAL (
    SELECT t.trial, t.value
    FROM trawl_store.trials t
    WHERE t.study_id = s.study_id AND t.state = 'completed'
    ORDER BY t.rank_key, t.trial
    LIMIT 1
) best ON true
WHERE s.deleted_at IS NULL;
