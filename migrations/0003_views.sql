-- What users read. Columns are only ever added.
CREATE SCHEMA trawl;
COMMENT ON SCHEMA trawl IS 'Studies, trials, folds and losses to be read with SQL; stable across releases.';

CREATE VIEW trawl.studies AS
SELECT s.study_id, s.name, s.state, s.seed, s.goal,
       s.max_trials AS trials_total, s.trials_completed, s.trials_pruned, s.trials_failed,
       best.trial AS best_trial, best.value AS best_value,
       s.created_at, s.finished_at, s.error
FROM trawl_store.studies s
LEFT JOIN LATERAL (
    SELECT t.trial, t.value
    FROM trawl_store.trials t
    WHERE t.study_id = s.study_id AND t.state = 'completed'
    ORDER BY t.rank_key, t.trial
    LIMIT 1
) best ON true
WHERE s.deleted_at IS NULL;
COMMENT ON VIEW trawl.studies IS 'One row a study.';

CREATE VIEW trawl.trials AS
SELECT s.name AS study, t.study_id, t.trial, t.state, t.value, t.value_std, t.params, t.epochs,
       t.worker_seconds, t.attempts, t.error, t.started_at, t.finished_at
FROM trawl_store.trials t
JOIN trawl_store.studies s USING (study_id)
WHERE s.deleted_at IS NULL;
COMMENT ON VIEW trawl.trials IS 'One row a trial.';

CREATE VIEW trawl.best_trials AS
SELECT s.name AS study, t.study_id,
       row_number() OVER (PARTITION BY t.study_id ORDER BY t.rank_key, t.trial) AS rank,
       t.trial, t.value, t.value_std, t.params
FROM trawl_store.trials t
JOIN trawl_store.studies s USING (study_id)
WHERE t.state = 'completed' AND s.deleted_at IS NULL;
COMMENT ON VIEW trawl.best_trials IS 'The completed trials of each study, ranked by its objective; rank 1 is the best.';

CREATE VIEW trawl.fold_metrics AS
SELECT s.name AS study, f.study_id, f.trial, f.fold, f.state, f.epochs, f.train_loss, f.val_loss,
       NULL::double precision AS val_accuracy, f.best_epoch, f.best_val_loss
FROM trawl_store.folds f
JOIN trawl_store.studies s USING (study_id)
WHERE f.trial IS NOT NULL AND s.deleted_at IS NULL;
COMMENT ON VIEW trawl.fold_metrics IS 'One row a fold of a trial; its metrics appear when it ends.';

CREATE VIEW trawl.epoch_reports AS
SELECT s.name AS study, f.study_id, f.trial, f.fold, r.epoch, r.train_loss, r.val_loss,
       NULL::double precision AS val_accuracy, r.reported_at
FROM trawl_store.epoch_reports r
JOIN trawl_store.folds f USING (fold_id)
JOIN trawl_store.studies s USING (study_id)
WHERE f.trial IS NOT NULL AND s.deleted_at IS NULL;
COMMENT ON VIEW trawl.epoch_reports IS 'One row an epoch of a fold of a trial.';

CREATE VIEW trawl.refits AS
SELECT s.name AS study, r.study_id, r.refit, r.trial, r.state, r.epochs, r.test_loss,
       NULL::double precision AS test_accuracy, r.params, r.finished_at, r.value, r.value_std, r.error
FROM trawl_store.refits r
JOIN trawl_store.studies s USING (study_id)
WHERE s.deleted_at IS NULL;
COMMENT ON VIEW trawl.refits IS 'One row a refit.';

CREATE VIEW trawl.refit_epoch_reports AS
SELECT s.name AS study, f.study_id, f.refit,
       CASE WHEN j.split = 'validation' THEN f.fold END AS fold,
       r.epoch, r.train_loss, r.val_loss, NULL::double precision AS val_accuracy, r.reported_at
FROM trawl_store.epoch_reports r
JOIN trawl_store.folds f USING (fold_id)
JOIN trawl_store.jobs j USING (job_id)
JOIN trawl_store.studies s ON s.study_id = f.study_id
WHERE f.refit IS NOT NULL AND s.deleted_at IS NULL;
COMMENT ON VIEW trawl.refit_epoch_reports IS 'One row an epoch of a fold of a refit; fold is null for the fit on all training rows.';

CREATE VIEW trawl.workers AS
SELECT w.worker_id, w.host, w.device,
       CASE WHEN w.stopped_at IS NOT NULL THEN 'stopped'
            WHEN w.last_seen_at + w.lost_after < clock_timestamp() THEN 'lost'
            ELSE 'online' END AS state,
       (SELECT count(*) FROM trawl_store.leases l WHERE l.worker_id = w.worker_id)::integer AS jobs,
       w.last_seen_at, w.slots
FROM trawl_store.workers w;
COMMENT ON VIEW trawl.workers IS 'One row a worker process that registered.';

-- A role belongs to the whole cluster: another database of it may have made it already, at this very moment even.
DO $$
BEGIN
    CREATE ROLE trawl_reader NOLOGIN;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN NULL;
    WHEN insufficient_privilege THEN
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'trawl_reader') THEN
            RAISE EXCEPTION 'the role trawl_reader is missing and this user may not create it'
                USING HINT = 'Let an administrator run: CREATE ROLE trawl_reader NOLOGIN;';
        END IF;
END
$$;
GRANT USAGE ON SCHEMA trawl TO trawl_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA trawl TO trawl_reader;
