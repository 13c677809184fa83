-- Fills the study `large`, of which the first window is planned, as if nearly all of its 100,000 trials had completed; and puts
-- small studies, refits, files and workers beside it.

-- So that nothing but the test reads, and what the planner knows is what ANALYZE says.
DO $$
DECLARE
    each regclass;
BEGIN
    FOR each IN SELECT oid FROM pg_class WHERE relnamespace = 'trawl_store'::regnamespace AND relkind = 'r' LOOP
        EXECUTE format('ALTER TABLE %s SET (autovacuum_enabled = off)', each);
    END LOOP;
END
$$;

INSERT INTO trawl_store.trials (study_id, trial, state, params, epochs, generation, rung, value, value_std, rank_key, started_at,
                                finished_at)
SELECT first.study_id, n, 'completed', first.params, first.epochs, n / 16, 1, drawn.value, 0.1, drawn.value, now(), now()
FROM trawl_store.trials first, generate_series(512, 99999) n, LATERAL (SELECT hashint4(n)::float8 AS value) drawn
WHERE first.trial = 0;

INSERT INTO trawl_store.jobs (job_id, study_id, split, members, epochs, first_epoch, end_epoch, state, attempts, lease_epoch, finished_at, position)
SELECT md5('job ' || n)::uuid, s.study_id, 'validation', 64, 2, 0, 2, 'completed', 1, 1, now(), n
FROM trawl_store.studies s, generate_series(512 / 32, 99999 / 32) n;

INSERT INTO trawl_store.folds (study_id, trial, fold, job_id, member, state, end_epoch, epochs, train_loss, best_epoch, metrics, last_values,
                               best_values)
SELECT s.study_id, n, fold, md5('job ' || n / 32)::uuid, n % 32 * 2 + fold, 'completed', 2, 2, 0.5, 1, '{val_loss}', '{0.5}', '{0.5}'
FROM trawl_store.studies s, generate_series(512, 99999) n, generate_series(0, 1) fold;

INSERT INTO trawl_store.curves (fold_id, first_epoch, epochs, metrics, train_loss, val, report_epoch, reported_at)
SELECT f.fold_id, 0, 2, '{val_loss}', '{0.5, 0.5}', '{0.5, 0.5}', '{0}', ARRAY[now()]
FROM trawl_store.folds f
WHERE f.state = 'completed';

UPDATE trawl_store.studies SET next_trial = 100000, trials_completed = 100000 - 512, epochs_reported = 2 * 2 * (100000 - 512);

-- Three refits, each of two folds and a fit on all rows, with long curves.
INSERT INTO trawl_store.refits (study_id, refit, trial, state, params, epochs, ends_study, value, test_loss, finished_at)
SELECT t.study_id, n, t.trial, 'completed', t.params, 1000, false, 0.5, 0.5, now()
FROM trawl_store.trials t, generate_series(0, 2) n
WHERE t.trial = 512;

INSERT INTO trawl_store.jobs (job_id, study_id, refit, split, members, epochs, first_epoch, end_epoch, state, finished_at, position)
SELECT md5('refit ' || refit || split)::uuid, study_id, refit, split, members, 1000, 0, 1000, 'completed', now(), 0
FROM trawl_store.refits, (VALUES ('validation', 2), ('all', 1)) AS kinds (split, members);

INSERT INTO trawl_store.folds (study_id, refit, fold, job_id, member, state, end_epoch, epochs)
SELECT study_id, refit, fold, md5('refit ' || refit || CASE fold WHEN 2 THEN 'all' ELSE 'validation' END)::uuid, fold % 2, 'completed', 1000, 1000
FROM trawl_store.refits, generate_series(0, 2) fold;

INSERT INTO trawl_store.curves (fold_id, first_epoch, epochs, metrics, train_loss, val, report_epoch, reported_at)
SELECT f.fold_id, first_epoch, 100, '{val_loss}', array_fill(0.5::float8, '{100}'), array_fill(0.5::float8, '{100}'),
       ARRAY[first_epoch], ARRAY[now()]
FROM trawl_store.folds f, generate_series(0, 900, 100) first_epoch
WHERE f.refit IS NOT NULL;

INSERT INTO trawl_store.artifacts (object_key, study_id, refit, name, kind, job_id, bytes, sha256)
SELECT format('artifacts/%s/%s', refit, n), study_id, refit, format('file-%s', n), 'weights', md5('refit ' || refit || 'all')::uuid, 1,
       decode(repeat('00', 32), 'hex')
FROM trawl_store.refits, generate_series(1, 400) n;

-- Small studies, all of one trial.
INSERT INTO trawl_store.studies (study_id, name, state, spec, seed, goal, train_file, test_is_labelled, train_rows, sample_shape, max_trials,
                                 next_trial, generation_trials, trials_completed, epoch_budget, priority, created_at, finished_at)
SELECT md5('study ' || n)::uuid, 'small-' || n, 'completed', spec, seed, goal, train_file, test_is_labelled, train_rows, sample_shape, 1, 1, 16, 1, 4, 10,
       created_at + n * interval '1 second', created_at + n * interval '1 minute'
FROM trawl_store.studies, generate_series(1, 1000) n;

INSERT INTO trawl_store.trials (study_id, trial, state, params, epochs, generation, value, rank_key, finished_at)
SELECT s.study_id, 0, 'completed', first.params, first.epochs, 0, 0.5, 0.5, now()
FROM trawl_store.studies s, trawl_store.trials first
WHERE s.name <> 'large' AND first.trial = 0;

-- One of them has 100 trials and two objectives.
UPDATE trawl_store.studies
SET max_trials = 100, next_trial = 100, trials_completed = 100, objectives = '{val_loss,parameters}', goals = '{minimize,minimize}'
WHERE name = 'small-7';

INSERT INTO trawl_store.trials (study_id, trial, state, params, epochs, generation, value, rank_key, finished_at)
SELECT t.study_id, n, 'completed', t.params, t.epochs, n / 16, n, n, now()
FROM trawl_store.trials t JOIN trawl_store.studies s USING (study_id), generate_series(1, 99) n
WHERE s.name = 'small-7';

UPDATE trawl_store.trials t
SET further_keys = ARRAY[hashint4(t.trial)::float8]
FROM trawl_store.studies s
WHERE s.study_id = t.study_id AND s.name = 'small-7';

INSERT INTO trawl_store.hypervolumes (study_id, trial, hypervolume)
SELECT t.study_id, t.trial, 0.5
FROM trawl_store.trials t
WHERE t.further_keys IS NOT NULL;

INSERT INTO trawl_store.workers (worker_id, host, device, slots, version, lost_after)
SELECT md5('worker ' || n)::uuid, 'host', 'cpu', 4, '0', interval '1 hour'
FROM generate_series(1, 200) n;

INSERT INTO trawl_store.leases (job_id, token, worker_id, expires_at)
SELECT md5('job ' || 100 + n)::uuid, gen_random_uuid(), md5('worker ' || n % 200 + 1)::uuid, now()
FROM generate_series(1, 800) n;

ANALYZE;
