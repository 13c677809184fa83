-- Classes, images, and datasets of more than one file a part.
ALTER TABLE trawl_store.studies
    ADD COLUMN train_targets_file bytea REFERENCES trawl_store.dataset_files,
    ADD COLUMN test_targets_file  bytea REFERENCES trawl_store.dataset_files,
    ADD COLUMN sample_shape       integer[],
    ADD COLUMN class_count        integer CHECK (class_count > 1),
    ADD CONSTRAINT studies_targets_of_both_parts
        CHECK (test_file IS NULL OR (train_targets_file IS NULL) = (test_targets_file IS NULL));
UPDATE trawl_store.studies SET sample_shape = ARRAY[feature_count];
ALTER TABLE trawl_store.studies
    ALTER COLUMN sample_shape SET NOT NULL,
    ADD CONSTRAINT studies_sample_shape CHECK (cardinality(sample_shape) IN (1, 3) AND 0 < ALL (sample_shape)),
    DROP COLUMN feature_count,
    DROP COLUMN target_count;
COMMENT ON COLUMN trawl_store.studies.train_file IS 'File of the training part: its features, or all of it.';
COMMENT ON COLUMN trawl_store.studies.test_file IS 'File of the test part, if there is one: its features, or all of it.';
COMMENT ON COLUMN trawl_store.studies.train_targets_file IS 'File of the training part''s targets, where they have one of their own.';
COMMENT ON COLUMN trawl_store.studies.test_targets_file IS 'File of the test part''s targets, where they have one of their own.';
COMMENT ON COLUMN trawl_store.studies.sample_shape IS 'Shape of a row''s features: [features], or [channels, height, width].';
COMMENT ON COLUMN trawl_store.studies.class_count IS 'Classes to tell apart; null where a number is predicted.';

ALTER TABLE trawl_store.epoch_reports
    ADD COLUMN val_accuracy double precision CHECK (val_accuracy BETWEEN 0 AND 1);
COMMENT ON COLUMN trawl_store.epoch_reports.val_accuracy IS 'Share of the validation rows whose class is predicted, after the epoch; null without classes.';

ALTER TABLE trawl_store.folds
    ADD COLUMN val_accuracy      double precision CHECK (val_accuracy BETWEEN 0 AND 1),
    ADD COLUMN best_val_accuracy double precision CHECK (best_val_accuracy BETWEEN 0 AND 1);
COMMENT ON COLUMN trawl_store.folds.val_accuracy IS 'Validation accuracy after the last epoch; null without classes.';
COMMENT ON COLUMN trawl_store.folds.best_val_accuracy IS 'Highest validation accuracy of any epoch; null without classes.';

ALTER TABLE trawl_store.refits
    ADD COLUMN final_test_accuracy double precision CHECK (final_test_accuracy BETWEEN 0 AND 1),
    ADD COLUMN test_accuracy       double precision CHECK (test_accuracy BETWEEN 0 AND 1);
COMMENT ON COLUMN trawl_store.refits.final_test_accuracy IS 'Accuracy on the test rows, known before the other jobs of the refit are done; null without classes.';
COMMENT ON COLUMN trawl_store.refits.test_accuracy IS 'Accuracy on the test rows of the completed refit; null without classes.';

CREATE OR REPLACE VIEW trawl.fold_metrics AS
SELECT s.name AS study, f.study_id, f.trial, f.fold, f.state, f.epochs, f.train_loss, f.val_loss,
       f.val_accuracy, f.best_epoch, f.best_val_loss, f.best_val_accuracy
FROM trawl_store.folds f
JOIN trawl_store.studies s USING (study_id)
WHERE f.trial IS NOT NULL AND s.deleted_at IS NULL;

CREATE OR REPLACE VIEW trawl.epoch_reports AS
SELECT s.name AS study, f.study_id, f.trial, f.fold, r.epoch, r.train_loss, r.val_loss,
       r.val_accuracy, r.reported_at
FROM trawl_store.epoch_reports r
JOIN trawl_store.folds f USING (fold_id)
JOIN trawl_store.studies s USING (study_id)
WHERE f.trial IS NOT NULL AND s.deleted_at IS NULL;

CREATE OR REPLACE VIEW trawl.refits AS
SELECT s.name AS study, r.study_id, r.refit, r.trial, r.state, r.epochs, r.test_loss,
       r.test_accuracy, r.params, r.finished_at, r.value, r.value_std, r.error
FROM trawl_store.refits r
JOIN trawl_store.studies s USING (study_id)
WHERE s.deleted_at IS NULL;

CREATE OR REPLACE VIEW trawl.refit_epoch_reports AS
SELECT s.name AS study, f.study_id, f.refit,
       CASE WHEN j.split = 'validation' THEN f.fold END AS fold,
       r.epoch, r.train_loss, r.val_loss, r.val_accuracy, r.reported_at
FROM trawl_store.epoch_reports r
JOIN trawl_store.folds f USING (fold_id)
JOIN trawl_store.jobs j USING (job_id)
JOIN trawl_store.studies s ON s.study_id = f.study_id
WHERE f.refit IS NOT NULL AND s.deleted_at IS NULL;
