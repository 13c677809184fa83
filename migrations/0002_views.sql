-- Views for users. Columns are only ever added.
CREATE SCHEMA trawl;
COMMENT ON SCHEMA trawl IS 'Studies, trials, folds and losses, for reading with SQL; stable across releases.';


CREATE VIEW trawl.studies AS
SELECT s.study_id, s.name, s.state, s.seed, s.goal,
       s.max_trials AS trials_total, s.trials_completed, s.trials_pruned, s.trials_failed,
       best.trial AS best_trial, best.value AS best_value,
       s.created_at, s.finished_at, s.error, s.pause_reason, s.stop_reason
FROM trawl_store.studies s
LEFT JOIN LATERAL (
    SELECT t.trial, t.value
    FROM trawl_store.trials t
    WHERE t.study_id = s.study_id AND t.state = 'completed'
    ORDER BY t.rank_key, t.trial
    LIMIT 1
) best ON true
WHERE s.deleted_at IS NULL;
COMMENT ON VIEW   trawl.studies IS 'One row for each study.';
COMMENT ON COLUMN trawl.studies.study_id IS 'Identifies the study for ever.';
COMMENT ON COLUMN trawl.studies.name IS 'Its name, the column study of the other views.';
COMMENT ON COLUMN trawl.studies.state IS 'running, paused, refitting, completed, failed or cancelled.';
COMMENT ON COLUMN trawl.studies.seed IS 'Source of all its random numbers.';
COMMENT ON COLUMN trawl.studies.goal IS 'minimize or maximize: the direction in which a trial''s value is better.';
COMMENT ON COLUMN trawl.studies.trials_total IS 'Number of trials in all.';
COMMENT ON COLUMN trawl.studies.trials_completed IS 'Number of trials that completed.';
COMMENT ON COLUMN trawl.studies.trials_pruned IS 'Number of trials that were pruned.';
COMMENT ON COLUMN trawl.studies.trials_failed IS 'Number of trials that failed.';
COMMENT ON COLUMN trawl.studies.best_trial IS 'The best trial so far.';
COMMENT ON COLUMN trawl.studies.best_value IS 'Its value.';
COMMENT ON COLUMN trawl.studies.created_at IS 'When it was submitted.';
COMMENT ON COLUMN trawl.studies.finished_at IS 'When it ended.';
COMMENT ON COLUMN trawl.studies.error IS 'Why it failed.';
COMMENT ON COLUMN trawl.studies.pause_reason IS 'Why it paused by itself; null if a user paused it.';
COMMENT ON COLUMN trawl.studies.stop_reason IS 'The bound that ended its search before max_trials; null if none did.';


-- Values of several objectives by name, from their rank keys.
CREATE FUNCTION trawl_store.objective_values(objectives text[], goals text[], keys double precision[]) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (SELECT jsonb_object_agg(o.objective, CASE o.goal WHEN 'maximize' THEN -o.key ELSE o.key END)
        FROM unnest(objectives, goals, keys) AS o (objective, goal, key));


-- A trial's values of all objectives, of the whole trial or at the rung where it was last compared; null with one objective.
CREATE FUNCTION trawl_store.objectives_of(study trawl_store.studies, trial trawl_store.trials) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN (trial).further_keys IS NOT NULL THEN trawl_store.objective_values(
           (study).objectives, (study).goals,
           COALESCE((trial).rank_key, CASE (study).goal WHEN 'maximize' THEN -(trial).rung_value ELSE (trial).rung_value END)
               || (trial).further_keys)
       END;


CREATE VIEW trawl.trials AS
SELECT s.name AS study, t.study_id, t.trial, t.state, t.value, t.value_std, t.params, t.epochs,
       t.worker_seconds, t.attempts, t.error, t.started_at, t.finished_at, t.generation, t.rung, t.rung_value, t.rung_trials,
       t.chosen IS NOT NULL AS chosen,
       trawl_store.objectives_of(s, t) AS objectives,
       t.value_seed_std, t.twin_of
FROM trawl_store.trials t
JOIN trawl_store.studies s USING (study_id)
WHERE s.deleted_at IS NULL;
COMMENT ON VIEW   trawl.trials IS 'One row for each trial.';
COMMENT ON COLUMN trawl.trials.study IS 'Name of its study.';
COMMENT ON COLUMN trawl.trials.study_id IS 'Id of its study.';
COMMENT ON COLUMN trawl.trials.trial IS 'Number within the study, from 0.';
COMMENT ON COLUMN trawl.trials.state IS 'queued, running, completed, pruned, failed or cancelled.';
COMMENT ON COLUMN trawl.trials.value IS 'Mean of the folds'' objective metric.';
COMMENT ON COLUMN trawl.trials.value_std IS 'Sample standard deviation over the folds, each with its mean over seeds; null for one fold.';
COMMENT ON COLUMN trawl.trials.params IS 'The searched parameters by name.';
COMMENT ON COLUMN trawl.trials.epochs IS 'Number of passes over the training rows.';
COMMENT ON COLUMN trawl.trials.worker_seconds IS 'Time that workers spent on it. A job''s time is shared equally among its folds.';
COMMENT ON COLUMN trawl.trials.attempts IS 'Largest number of attempts at one of its jobs.';
COMMENT ON COLUMN trawl.trials.error IS 'Why it failed; diverged for a loss that is not finite.';
COMMENT ON COLUMN trawl.trials.started_at IS 'When its first job was leased.';
COMMENT ON COLUMN trawl.trials.finished_at IS 'When it ended.';
COMMENT ON COLUMN trawl.trials.generation IS 'The generation that it belongs to, from 0.';
COMMENT ON COLUMN trawl.trials.rung IS 'The rung that it is at, or that it ended at, from 0; null without racing.';
COMMENT ON COLUMN trawl.trials.rung_value IS 'Its value at the rung where it was last compared: the mean over the folds of that rung.';
COMMENT ON COLUMN trawl.trials.rung_trials IS 'Number of trials compared there.';
COMMENT ON COLUMN trawl.trials.chosen IS 'True if a user chose its configuration.';
COMMENT ON COLUMN trawl.trials.value_seed_std IS 'Standard deviation over seeds on the same fold: the square root of the mean over the folds of the sample variance; null for one seed.';
COMMENT ON COLUMN trawl.trials.twin_of IS 'The first trial with the same parameters; null if it is this one. Weights and batches of the two have different random numbers.';
COMMENT ON COLUMN trawl.trials.objectives IS 'Its values of all objectives by name, if the study has several: of the whole trial, or at the rung where it was last compared.';


CREATE VIEW trawl.rungs AS
SELECT s.name AS study, t.study_id, t.generation, came.rung,
       count(*) AS trials,
       count(*) FILTER (WHERE t.rung > came.rung) AS promoted,
       count(*) FILTER (WHERE t.rung = came.rung AND t.state = 'pruned') AS pruned,
       count(*) FILTER (WHERE t.rung = came.rung AND t.state = 'completed') AS completed,
       count(*) FILTER (WHERE t.rung = came.rung AND t.state = 'failed') AS failed
FROM trawl_store.trials t
JOIN trawl_store.studies s USING (study_id)
CROSS JOIN LATERAL generate_series(0, t.rung) AS came (rung)
WHERE s.deleted_at IS NULL
GROUP BY s.name, t.study_id, t.generation, came.rung;
COMMENT ON VIEW   trawl.rungs IS 'One row for each rung that trials of a generation reached, for studies with racing.';
COMMENT ON COLUMN trawl.rungs.study IS 'Name of its study.';
COMMENT ON COLUMN trawl.rungs.study_id IS 'Id of its study.';
COMMENT ON COLUMN trawl.rungs.generation IS 'The generation, from 0.';
COMMENT ON COLUMN trawl.rungs.rung IS 'The rung, from 0.';
COMMENT ON COLUMN trawl.rungs.trials IS 'Number of trials that reached it.';
COMMENT ON COLUMN trawl.rungs.promoted IS 'Number of these trials that went on to the next rung.';
COMMENT ON COLUMN trawl.rungs.pruned IS 'Number of these trials that were pruned.';
COMMENT ON COLUMN trawl.rungs.completed IS 'Number of these trials that completed: only on the last rung.';
COMMENT ON COLUMN trawl.rungs.failed IS 'Number of these trials that failed, including diverged ones.';


-- The cost of a ranking's head has to grow only with its length. So each study is ranked by itself, in the order of the index
-- trials_ranking, and `rank <= n` stops the count after n rows. The limit changes no result, because no study has more trials. It
-- tells the planner that perhaps not all rows are read; otherwise the planner would first sort the whole study.
CREATE VIEW trawl.best_trials AS
SELECT s.name AS study, s.study_id, ranked.rank, ranked.trial, ranked.value, ranked.value_std, ranked.params
FROM trawl_store.studies s
CROSS JOIN LATERAL (
    SELECT row_number() OVER (ORDER BY completed.rank_key, completed.trial) AS rank,
           completed.trial, completed.value, completed.value_std, completed.params
    FROM (
        SELECT t.rank_key, t.trial, t.value, t.value_std, t.params
        FROM trawl_store.trials t
        WHERE t.study_id = s.study_id AND t.state = 'completed'
        ORDER BY t.rank_key, t.trial
        LIMIT s.max_trials
    ) completed
) ranked
WHERE s.deleted_at IS NULL;
COMMENT ON VIEW   trawl.best_trials IS 'The completed trials of each study, ranked by its objective. Select the head of a ranking with rank <= n.';
COMMENT ON COLUMN trawl.best_trials.study IS 'Name of its study.';
COMMENT ON COLUMN trawl.best_trials.study_id IS 'Id of its study.';
COMMENT ON COLUMN trawl.best_trials.rank IS 'Place in the ranking; 1 is the best. Among equal values the lower trial comes first.';
COMMENT ON COLUMN trawl.best_trials.trial IS 'Number of the trial.';
COMMENT ON COLUMN trawl.best_trials.value IS 'Mean of the folds'' objective metric.';
COMMENT ON COLUMN trawl.best_trials.value_std IS 'Sample standard deviation over the folds, each with its mean over seeds; null for one fold.';
COMMENT ON COLUMN trawl.best_trials.params IS 'The searched parameters by name.';


-- With at most four objectives, each pair of trials costs a few comparisons and no call; missing objectives are null.
CREATE VIEW trawl.pareto AS
SELECT s.name AS study, t.study_id, t.trial, t.value,
       trawl_store.objectives_of(s, t) AS objectives, t.params
FROM trawl_store.trials t
JOIN trawl_store.studies s USING (study_id)
WHERE s.objectives IS NOT NULL AND t.state = 'completed' AND s.deleted_at IS NULL
  AND NOT EXISTS (
      SELECT FROM trawl_store.trials other
      WHERE other.study_id = t.study_id AND other.state = 'completed' AND other.rank_key <= t.rank_key
        AND (other.further_keys[1] <= t.further_keys[1]) IS NOT FALSE
        AND (other.further_keys[2] <= t.further_keys[2]) IS NOT FALSE
        AND (other.further_keys[3] <= t.further_keys[3]) IS NOT FALSE
        AND (other.rank_key <> t.rank_key OR other.further_keys <> t.further_keys));
COMMENT ON VIEW   trawl.pareto IS 'The completed trials, of studies with several objectives, that no other trial dominates by being nowhere worse and somewhere better.';
COMMENT ON COLUMN trawl.pareto.study IS 'Name of its study.';
COMMENT ON COLUMN trawl.pareto.study_id IS 'Id of its study.';
COMMENT ON COLUMN trawl.pareto.trial IS 'Number of the trial.';
COMMENT ON COLUMN trawl.pareto.value IS 'Its value of the first objective.';
COMMENT ON COLUMN trawl.pareto.objectives IS 'Its values of all objectives by name.';
COMMENT ON COLUMN trawl.pareto.params IS 'The searched parameters by name.';


-- Metrics by name, without undefined ones.
CREATE FUNCTION trawl_store.named(metrics text[], metric_values double precision[]) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (SELECT COALESCE(jsonb_object_agg(metric, value) FILTER (WHERE value IS NOT NULL), '{}')
        FROM unnest(metrics, metric_values) AS named (metric, value));


CREATE VIEW trawl.fold_metrics AS
SELECT s.name AS study, f.study_id, f.trial, f.fold, f.state, f.epochs, f.train_loss,
       f.last_values[array_position(f.metrics, 'val_loss')] AS val_loss,
       f.last_values[array_position(f.metrics, 'val_accuracy')] AS val_accuracy,
       f.best_epoch,
       f.best_values[array_position(f.metrics, 'val_loss')] AS best_val_loss,
       f.best_values[array_position(f.metrics, 'val_accuracy')] AS best_val_accuracy,
       trawl_store.named(f.metrics, f.last_values) AS metrics,
       trawl_store.named(f.metrics, f.best_values) AS best_metrics
FROM trawl_store.folds f
JOIN trawl_store.studies s USING (study_id)
WHERE f.trial IS NOT NULL AND s.deleted_at IS NULL;
COMMENT ON VIEW   trawl.fold_metrics IS 'One row for each fold of a trial. Its metrics appear when it ends, or reaches a rung.';
COMMENT ON COLUMN trawl.fold_metrics.study IS 'Name of its study.';
COMMENT ON COLUMN trawl.fold_metrics.study_id IS 'Id of its study.';
COMMENT ON COLUMN trawl.fold_metrics.trial IS 'Number of the trial.';
COMMENT ON COLUMN trawl.fold_metrics.fold IS 'Number of the fold, from 0.';
COMMENT ON COLUMN trawl.fold_metrics.state IS 'queued, running, paused (until the decision about its trial), completed, pruned, failed or cancelled.';
COMMENT ON COLUMN trawl.fold_metrics.epochs IS 'Number of epochs reported when it ended.';
COMMENT ON COLUMN trawl.fold_metrics.train_loss IS 'Mean training loss of the last epoch.';
COMMENT ON COLUMN trawl.fold_metrics.val_loss IS 'Validation loss after the last epoch.';
COMMENT ON COLUMN trawl.fold_metrics.val_accuracy IS 'Validation accuracy after the last epoch; null without classes.';
COMMENT ON COLUMN trawl.fold_metrics.best_epoch IS 'The epoch with the lowest validation loss, from 0.';
COMMENT ON COLUMN trawl.fold_metrics.best_val_loss IS 'Validation loss of that epoch.';
COMMENT ON COLUMN trawl.fold_metrics.best_val_accuracy IS 'Highest validation accuracy of any epoch; null without classes.';
COMMENT ON COLUMN trawl.fold_metrics.metrics IS 'All metrics on the validation rows after the last epoch, by name.';
COMMENT ON COLUMN trawl.fold_metrics.best_metrics IS 'The best value of each metric of any epoch, by name.';


-- One metric's values, epoch by epoch, from the values of several.
CREATE FUNCTION trawl_store.values_of(metrics text[], val double precision[], metric text) RETURNS double precision[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN val[(array_position(metrics, metric) - 1) * (cardinality(val) / NULLIF(cardinality(metrics), 0)) + 1
           : array_position(metrics, metric) * (cardinality(val) / NULLIF(cardinality(metrics), 0))];


-- The epochs of each fold, from curves and from reports of jobs under way. Each fold is looked up by itself, so that a
-- query for few folds reads few rows; chunk_first and chunk_end let pages skip whole rows of a long curve. A slice of a
-- whole array is that array, unpacked once for each row instead of once for each epoch.
CREATE VIEW trawl_store.epochs AS
SELECT f.fold_id, f.study_id, f.trial, f.refit, f.fold, f.job_id,
       chunk.first_epoch AS chunk_first, chunk.first_epoch + chunk.epochs AS chunk_end,
       chunk.first_epoch + of_epoch.place::integer - 1 AS epoch, of_epoch.train_loss, of_epoch.val_loss, of_epoch.val_accuracy,
       trawl_store.named(chunk.metrics, ARRAY(
           SELECT chunk.val[metric * chunk.epochs + of_epoch.place]
           FROM generate_series(0, cardinality(chunk.metrics) - 1) metric)) AS metrics,
       chunk.reported_at[width_bucket(chunk.first_epoch + of_epoch.place::integer - 1, chunk.report_epoch)] AS reported_at
FROM trawl_store.folds f
CROSS JOIN LATERAL (
    SELECT c.first_epoch, c.epochs, c.metrics, c.train_loss, c.val[:] AS val, c.report_epoch[:] AS report_epoch,
           c.reported_at[:] AS reported_at
    FROM trawl_store.curves c
    WHERE c.fold_id = f.fold_id
    UNION ALL
    SELECT r.first_epoch, r.epochs, r.metrics,
           r.train_loss[f.member * r.epochs + 1 : (f.member + 1) * r.epochs],
           r.val[f.member * r.epochs * cardinality(r.metrics) + 1 : (f.member + 1) * r.epochs * cardinality(r.metrics)],
           ARRAY[r.first_epoch], ARRAY[r.reported_at]
    FROM trawl_store.job_reports r
    WHERE r.job_id = f.job_id
) chunk
CROSS JOIN LATERAL unnest(
    chunk.train_loss,
    trawl_store.values_of(chunk.metrics, chunk.val, 'val_loss'),
    trawl_store.values_of(chunk.metrics, chunk.val, 'val_accuracy')
) WITH ORDINALITY AS of_epoch (train_loss, val_loss, val_accuracy, place)
WHERE of_epoch.train_loss IS NOT NULL;
COMMENT ON VIEW   trawl_store.epochs IS 'One row for each epoch of a fold.';
COMMENT ON COLUMN trawl_store.epochs.fold_id IS 'The fold.';
COMMENT ON COLUMN trawl_store.epochs.study_id IS 'Its study.';
COMMENT ON COLUMN trawl_store.epochs.trial IS 'Its trial; null for a refit''s.';
COMMENT ON COLUMN trawl_store.epochs.refit IS 'Its refit; null for a trial''s.';
COMMENT ON COLUMN trawl_store.epochs.fold IS 'Its number, from 0.';
COMMENT ON COLUMN trawl_store.epochs.job_id IS 'Its job.';
COMMENT ON COLUMN trawl_store.epochs.chunk_first IS 'The first epoch of the stored row.';
COMMENT ON COLUMN trawl_store.epochs.chunk_end IS 'The first epoch after the stored row.';
COMMENT ON COLUMN trawl_store.epochs.epoch IS 'The epoch, from 0.';
COMMENT ON COLUMN trawl_store.epochs.train_loss IS 'Mean over the epoch''s batches, each weighted by its rows, taken while training.';
COMMENT ON COLUMN trawl_store.epochs.val_loss IS 'Loss on the validation rows after the epoch.';
COMMENT ON COLUMN trawl_store.epochs.val_accuracy IS 'Share of the validation rows whose class is predicted, after the epoch; null without classes.';
COMMENT ON COLUMN trawl_store.epochs.metrics IS 'All metrics on the validation rows by name.';
COMMENT ON COLUMN trawl_store.epochs.reported_at IS 'When it became durable.';


CREATE VIEW trawl.epoch_reports AS
SELECT s.name AS study, e.study_id, e.trial, e.fold, e.epoch, e.train_loss, e.val_loss,
       e.val_accuracy, e.reported_at, e.metrics
FROM trawl_store.epochs e
JOIN trawl_store.studies s USING (study_id)
WHERE e.trial IS NOT NULL AND s.deleted_at IS NULL;
COMMENT ON VIEW   trawl.epoch_reports IS 'One row for each epoch of a fold of a trial.';
COMMENT ON COLUMN trawl.epoch_reports.study IS 'Name of its study.';
COMMENT ON COLUMN trawl.epoch_reports.study_id IS 'Id of its study.';
COMMENT ON COLUMN trawl.epoch_reports.trial IS 'Number of the trial.';
COMMENT ON COLUMN trawl.epoch_reports.fold IS 'Number of the fold, from 0.';
COMMENT ON COLUMN trawl.epoch_reports.epoch IS 'The epoch, from 0.';
COMMENT ON COLUMN trawl.epoch_reports.train_loss IS 'Mean over the epoch''s batches, each weighted by its rows, taken while training.';
COMMENT ON COLUMN trawl.epoch_reports.val_loss IS 'Loss on the validation rows after the epoch.';
COMMENT ON COLUMN trawl.epoch_reports.val_accuracy IS 'Share of the validation rows whose class is predicted, after the epoch; null without classes.';
COMMENT ON COLUMN trawl.epoch_reports.reported_at IS 'When the report became durable.';
COMMENT ON COLUMN trawl.epoch_reports.metrics IS 'All metrics on the validation rows by name.';


CREATE VIEW trawl.refits AS
SELECT s.name AS study, r.study_id, r.refit, r.trial, r.state, r.epochs, r.test_loss,
       r.test_accuracy, r.params, r.finished_at, r.value, r.value_std, r.error, r.test_low, r.test_high, r.value_seed_std
FROM trawl_store.refits r
JOIN trawl_store.studies s USING (study_id)
WHERE s.deleted_at IS NULL;
COMMENT ON VIEW   trawl.refits IS 'One row for each refit.';
COMMENT ON COLUMN trawl.refits.study IS 'Name of its study.';
COMMENT ON COLUMN trawl.refits.study_id IS 'Id of its study.';
COMMENT ON COLUMN trawl.refits.refit IS 'Number within the study, from 0.';
COMMENT ON COLUMN trawl.refits.trial IS 'The trial whose configuration it trains.';
COMMENT ON COLUMN trawl.refits.state IS 'queued, running, completed, failed or cancelled.';
COMMENT ON COLUMN trawl.refits.epochs IS 'Number of passes over the training rows.';
COMMENT ON COLUMN trawl.refits.test_loss IS 'Loss on the test rows after training on all training rows; null without test targets.';
COMMENT ON COLUMN trawl.refits.test_accuracy IS 'Accuracy on the test rows after training on all training rows; null without classes.';
COMMENT ON COLUMN trawl.refits.params IS 'The trial''s parameters, as replaced by the study''s refit section.';
COMMENT ON COLUMN trawl.refits.finished_at IS 'When it ended.';
COMMENT ON COLUMN trawl.refits.value IS 'Mean of the folds'' objective metric.';
COMMENT ON COLUMN trawl.refits.value_std IS 'Sample standard deviation over the folds, each with its mean over seeds; null for one fold.';
COMMENT ON COLUMN trawl.refits.error IS 'Why it failed.';
COMMENT ON COLUMN trawl.refits.test_low IS 'Lower end of the 90 % interval of the loss on rows like the test rows; null if row losses are not kept.';
COMMENT ON COLUMN trawl.refits.test_high IS 'Its upper end.';
COMMENT ON COLUMN trawl.refits.value_seed_std IS 'Standard deviation over seeds on the same fold: the square root of the mean over the folds of the sample variance; null for one seed.';


CREATE VIEW trawl.winners AS
SELECT s.name AS study, w.study_id, w.trial, t.value, w.corrected_value, w.corrected_low, w.corrected_high, w.contenders,
       w.p_better, w.not_separable_from, test.test_loss, test.test_low, test.test_high
FROM trawl_store.winners w
JOIN trawl_store.studies s USING (study_id)
JOIN trawl_store.trials t ON t.study_id = w.study_id AND t.trial = w.trial
LEFT JOIN LATERAL (
    SELECT r.test_loss, r.test_low, r.test_high
    FROM trawl_store.refits r
    WHERE r.study_id = w.study_id AND r.trial = w.trial AND r.state = 'completed'
    ORDER BY r.refit DESC
    LIMIT 1
) test ON true
WHERE s.deleted_at IS NULL;
COMMENT ON VIEW   trawl.winners IS 'The value of the best trial: one row for each study whose search has ended.';
COMMENT ON COLUMN trawl.winners.study IS 'Name of its study.';
COMMENT ON COLUMN trawl.winners.study_id IS 'Id of its study.';
COMMENT ON COLUMN trawl.winners.trial IS 'The best trial.';
COMMENT ON COLUMN trawl.winners.value IS 'Its value, which is too good: the rows that measured it also chose it.';
COMMENT ON COLUMN trawl.winners.corrected_value IS 'Its value, corrected for the bias of the choice; null if row losses are not kept.';
COMMENT ON COLUMN trawl.winners.corrected_low IS 'Lower end of the 90 % interval of this value.';
COMMENT ON COLUMN trawl.winners.corrected_high IS 'Its upper end.';
COMMENT ON COLUMN trawl.winners.contenders IS 'Number of best trials among which it was chosen when its value was corrected.';
COMMENT ON COLUMN trawl.winners.p_better IS 'Probability that it is better than the second best trial; null for a holdout, and for a lone trial.';
COMMENT ON COLUMN trawl.winners.not_separable_from IS 'Trials that it beats with a probability below 95 %, by rank, among the 64 best.';
COMMENT ON COLUMN trawl.winners.test_loss IS 'Loss of its last refit on the test rows, which influenced no choice.';
COMMENT ON COLUMN trawl.winners.test_low IS 'Lower end of the 90 % interval of the loss on such rows.';
COMMENT ON COLUMN trawl.winners.test_high IS 'Its upper end.';


CREATE VIEW trawl.baselines AS
SELECT s.name AS study, b.study_id, b.baseline, b.value, b.value_std
FROM trawl_store.baselines b
JOIN trawl_store.studies s USING (study_id)
WHERE s.deleted_at IS NULL;
COMMENT ON VIEW   trawl.baselines IS 'What models without a search reach on the folds of a study: is the search worth anything?';
COMMENT ON COLUMN trawl.baselines.study IS 'Name of its study.';
COMMENT ON COLUMN trawl.baselines.study_id IS 'Id of its study.';
COMMENT ON COLUMN trawl.baselines.baseline IS 'constant: the targets'' mean, median or shares of classes; linear: one linear layer.';
COMMENT ON COLUMN trawl.baselines.value IS 'Its value: the mean over the folds of the metric that the study optimises.';
COMMENT ON COLUMN trawl.baselines.value_std IS 'Standard deviation over the folds; null for a single fold.';


CREATE VIEW trawl.importance AS
SELECT s.name AS study, i.study_id, i.parameter, i.importance, i.trials, i.rung
FROM trawl_store.importance i
JOIN trawl_store.studies s USING (study_id)
WHERE s.deleted_at IS NULL;
COMMENT ON VIEW   trawl.importance IS 'The importance of parameters: one row for each parameter of each study whose search has ended.';
COMMENT ON COLUMN trawl.importance.study IS 'Name of its study.';
COMMENT ON COLUMN trawl.importance.study_id IS 'Id of its study.';
COMMENT ON COLUMN trawl.importance.parameter IS 'Name of the parameter.';
COMMENT ON COLUMN trawl.importance.importance IS 'Its share of all importance, from 0 to 1: how much its values in the best tenth of the trials are distributed differently than in all.';
COMMENT ON COLUMN trawl.importance.trials IS 'Number of trials that it was computed from; with fewer than 50, few of them are in the best tenth.';
COMMENT ON COLUMN trawl.importance.rung IS 'The rung at which they were compared, from 0; null for whole trials.';


CREATE VIEW trawl.hypervolume AS
SELECT s.name AS study, h.study_id, h.trial, h.hypervolume
FROM trawl_store.hypervolumes h
JOIN trawl_store.studies s USING (study_id)
WHERE s.deleted_at IS NULL;
COMMENT ON VIEW   trawl.hypervolume IS 'How the front of a study with several objectives grew: a row for each completed trial, once the search has ended.';
COMMENT ON COLUMN trawl.hypervolume.study IS 'Name of its study.';
COMMENT ON COLUMN trawl.hypervolume.study_id IS 'Id of its study.';
COMMENT ON COLUMN trawl.hypervolume.trial IS 'Number of the trial.';
COMMENT ON COLUMN trawl.hypervolume.hypervolume IS 'Share of the box between the best and the worst of each objective that trials up to this one dominate, from 0 to 1.';


CREATE VIEW trawl.refit_epoch_reports AS
SELECT s.name AS study, e.study_id, e.refit,
       CASE WHEN j.split = 'validation' THEN e.fold END AS fold,
       e.epoch, e.train_loss, e.val_loss, e.val_accuracy, e.reported_at, e.metrics
FROM trawl_store.epochs e
JOIN trawl_store.jobs j USING (job_id)
JOIN trawl_store.studies s ON s.study_id = e.study_id
WHERE e.refit IS NOT NULL AND s.deleted_at IS NULL;
COMMENT ON VIEW   trawl.refit_epoch_reports IS 'One row for each epoch of a fold of a refit.';
COMMENT ON COLUMN trawl.refit_epoch_reports.study IS 'Name of its study.';
COMMENT ON COLUMN trawl.refit_epoch_reports.study_id IS 'Id of its study.';
COMMENT ON COLUMN trawl.refit_epoch_reports.refit IS 'Number of the refit.';
COMMENT ON COLUMN trawl.refit_epoch_reports.fold IS 'Number of the fold, from 0; null for the fit on all training rows.';
COMMENT ON COLUMN trawl.refit_epoch_reports.epoch IS 'The epoch, from 0.';
COMMENT ON COLUMN trawl.refit_epoch_reports.train_loss IS 'Mean over the epoch''s batches, each weighted by its rows, taken while training.';
COMMENT ON COLUMN trawl.refit_epoch_reports.val_loss IS 'Loss on the validation rows after the epoch; null without validation rows.';
COMMENT ON COLUMN trawl.refit_epoch_reports.val_accuracy IS 'Share of the validation rows whose class is predicted, after the epoch; null without classes.';
COMMENT ON COLUMN trawl.refit_epoch_reports.reported_at IS 'When the report became durable.';
COMMENT ON COLUMN trawl.refit_epoch_reports.metrics IS 'All metrics on the validation rows by name.';


CREATE VIEW trawl.artifacts AS
SELECT s.name AS study, a.study_id, a.refit, a.trial, a.kind, a.name, a.bytes, encode(a.sha256, 'hex') AS sha256,
       a.created_at
FROM trawl_store.artifacts a
JOIN trawl_store.studies s USING (study_id)
JOIN trawl_store.jobs j USING (job_id)
WHERE j.state = 'completed'
  AND (a.trial IS NULL
    OR (SELECT t.state FROM trawl_store.trials t WHERE t.study_id = a.study_id AND t.trial = a.trial) = 'completed')
  AND s.deleted_at IS NULL;
COMMENT ON VIEW   trawl.artifacts IS 'One row for each file that a refit, or one of the best trials, left. Either refit or trial is null.';
COMMENT ON COLUMN trawl.artifacts.study IS 'Name of its study.';
COMMENT ON COLUMN trawl.artifacts.study_id IS 'Id of its study.';
COMMENT ON COLUMN trawl.artifacts.refit IS 'Its refit; null for a trial''s.';
COMMENT ON COLUMN trawl.artifacts.trial IS 'Its trial; null for a refit''s.';
COMMENT ON COLUMN trawl.artifacts.kind IS 'Its kind: weights, network, predictions and so on.';
COMMENT ON COLUMN trawl.artifacts.name IS 'File name.';
COMMENT ON COLUMN trawl.artifacts.bytes IS 'Its size.';
COMMENT ON COLUMN trawl.artifacts.sha256 IS 'SHA-256 of the bytes, in hexadecimal digits.';
COMMENT ON COLUMN trawl.artifacts.created_at IS 'When it became durable.';


CREATE VIEW trawl.workers AS
SELECT w.worker_id, w.host, w.device,
       CASE WHEN w.stopped_at IS NOT NULL THEN 'stopped'
            WHEN w.last_seen_at + w.lost_after < clock_timestamp() THEN 'lost'
            ELSE 'online' END AS state,
       (SELECT count(*) FROM trawl_store.leases l WHERE l.worker_id = w.worker_id)::integer AS jobs,
       w.last_seen_at, w.slots
FROM trawl_store.workers w;
COMMENT ON VIEW   trawl.workers IS 'One row for each worker process that registered.';
COMMENT ON COLUMN trawl.workers.worker_id IS 'Chosen by the process at its start.';
COMMENT ON COLUMN trawl.workers.host IS 'Host name.';
COMMENT ON COLUMN trawl.workers.device IS 'cpu or cuda:N.';
COMMENT ON COLUMN trawl.workers.state IS 'online, lost or stopped.';
COMMENT ON COLUMN trawl.workers.jobs IS 'Number of jobs that it trains now.';
COMMENT ON COLUMN trawl.workers.last_seen_at IS 'When its last heartbeat came.';
COMMENT ON COLUMN trawl.workers.slots IS 'Number of jobs that it can train at once.';


-- A role belongs to the whole cluster: another database may have created it already, or may be creating it now.
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
