-- Tables live in trawl_store and are trawl's own business; the schema trawl holds the views that users read.
CREATE SCHEMA trawl_store;
COMMENT ON SCHEMA trawl_store IS 'The coordinator''s tables. Read the views of the schema trawl instead: those are stable.';

CREATE TABLE trawl_store.dataset_files (
    sha256     bytea PRIMARY KEY CHECK (octet_length(sha256) = 32),
    content    bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
-- Numbers as text compress well; the hash is that of the plain bytes.
COMMENT ON TABLE  trawl_store.dataset_files IS 'Files of datasets as they were when a study was submitted: workers read these, never a path.';
COMMENT ON COLUMN trawl_store.dataset_files.sha256 IS 'SHA-256 of the content: its name.';
COMMENT ON COLUMN trawl_store.dataset_files.content IS 'The file''s bytes.';
COMMENT ON COLUMN trawl_store.dataset_files.created_at IS 'When it was first submitted.';

CREATE TABLE trawl_store.studies (
    study_id         uuid PRIMARY KEY,
    name             text NOT NULL,
    state            text NOT NULL CHECK (state IN ('running', 'paused', 'refitting', 'completed', 'failed', 'cancelled')),
    error            text,
    spec             jsonb NOT NULL,
    seed             bigint NOT NULL CHECK (seed >= 0),
    goal             text NOT NULL CHECK (goal IN ('minimize', 'maximize')),
    train_file       bytea NOT NULL REFERENCES trawl_store.dataset_files,
    test_file        bytea REFERENCES trawl_store.dataset_files,
    train_rows       integer NOT NULL CHECK (train_rows > 0),
    feature_count    integer NOT NULL CHECK (feature_count > 0),
    target_count     integer NOT NULL CHECK (target_count > 0),
    max_trials       integer NOT NULL CHECK (max_trials > 0),
    next_trial       integer NOT NULL DEFAULT 0 CHECK (next_trial BETWEEN 0 AND max_trials),
    trials_completed integer NOT NULL DEFAULT 0,
    trials_pruned    integer NOT NULL DEFAULT 0,
    trials_failed    integer NOT NULL DEFAULT 0,
    trials_cancelled integer NOT NULL DEFAULT 0,
    epochs_reported  bigint NOT NULL DEFAULT 0,
    created_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at      timestamptz,
    deleted_at       timestamptz,
    CONSTRAINT studies_trials_within_budget
        CHECK (trials_completed + trials_pruned + trials_failed + trials_cancelled <= max_trials),
    CONSTRAINT studies_finished_when_final
        CHECK ((state IN ('completed', 'failed', 'cancelled')) = (finished_at IS NOT NULL))
);
CREATE UNIQUE INDEX studies_name ON trawl_store.studies (name) WHERE deleted_at IS NULL;
CREATE INDEX studies_newest ON trawl_store.studies (created_at DESC, study_id);
CREATE INDEX studies_deleted ON trawl_store.studies (deleted_at) WHERE deleted_at IS NOT NULL;
COMMENT ON TABLE  trawl_store.studies IS 'One search each.';
COMMENT ON COLUMN trawl_store.studies.study_id IS 'Names the study for ever.';
COMMENT ON COLUMN trawl_store.studies.name IS 'Unique among the studies that are not deleted.';
COMMENT ON COLUMN trawl_store.studies.state IS 'See ARCHITECTURE.md for how states follow each other.';
COMMENT ON COLUMN trawl_store.studies.error IS 'Why it failed.';
COMMENT ON COLUMN trawl_store.studies.spec IS 'The study as it was submitted, in the JSON form of trawl.v1.Study.';
COMMENT ON COLUMN trawl_store.studies.seed IS 'What everything random derives from.';
COMMENT ON COLUMN trawl_store.studies.goal IS 'Which way the value is better.';
COMMENT ON COLUMN trawl_store.studies.train_file IS 'File of the training rows.';
COMMENT ON COLUMN trawl_store.studies.test_file IS 'File of the test rows, if there is one.';
COMMENT ON COLUMN trawl_store.studies.train_rows IS 'Rows of the training file.';
COMMENT ON COLUMN trawl_store.studies.feature_count IS 'Columns that go into the network.';
COMMENT ON COLUMN trawl_store.studies.target_count IS 'Columns to be predicted.';
COMMENT ON COLUMN trawl_store.studies.max_trials IS 'Trials in all.';
COMMENT ON COLUMN trawl_store.studies.next_trial IS 'The first trial that is not planned yet.';
COMMENT ON COLUMN trawl_store.studies.trials_completed IS 'Trials that completed.';
COMMENT ON COLUMN trawl_store.studies.trials_pruned IS 'Trials that were pruned.';
COMMENT ON COLUMN trawl_store.studies.trials_failed IS 'Trials that failed.';
COMMENT ON COLUMN trawl_store.studies.trials_cancelled IS 'Trials that were cancelled.';
COMMENT ON COLUMN trawl_store.studies.epochs_reported IS 'Epoch reports stored, refits included.';
COMMENT ON COLUMN trawl_store.studies.created_at IS 'When it was submitted.';
COMMENT ON COLUMN trawl_store.studies.finished_at IS 'When it ended.';
COMMENT ON COLUMN trawl_store.studies.deleted_at IS 'When its deletion was asked for; its rows go piece by piece.';

CREATE TABLE trawl_store.trials (
    study_id       uuid NOT NULL REFERENCES trawl_store.studies,
    trial          integer NOT NULL CHECK (trial >= 0),
    state          text NOT NULL DEFAULT 'queued'
        CHECK (state IN ('queued', 'running', 'completed', 'pruned', 'failed', 'cancelled')),
    params         jsonb NOT NULL,
    epochs         integer NOT NULL CHECK (epochs > 0),
    value          double precision CHECK (value > '-Infinity' AND value < 'Infinity'),
    value_std      double precision CHECK (value_std >= 0 AND value_std < 'Infinity'),
    rank_key       double precision,
    error          text,
    attempts       integer NOT NULL DEFAULT 0,
    worker_seconds double precision NOT NULL DEFAULT 0,
    started_at     timestamptz,
    finished_at    timestamptz,
    PRIMARY KEY (study_id, trial),
    CONSTRAINT trials_value_when_completed CHECK ((state = 'completed') = (value IS NOT NULL)),
    CONSTRAINT trials_ranked_when_completed CHECK ((value IS NULL) = (rank_key IS NULL)),
    CONSTRAINT trials_error_when_failed CHECK ((state = 'failed') = (error IS NOT NULL))
) WITH (fillfactor = 80);
CREATE INDEX trials_ranking ON trawl_store.trials (study_id, rank_key, trial) WHERE state = 'completed';
CREATE INDEX trials_running ON trawl_store.trials (study_id) WHERE state = 'running';
COMMENT ON TABLE  trawl_store.trials IS 'One sampled configuration each; made window by window as jobs are needed.';
COMMENT ON COLUMN trawl_store.trials.study_id IS 'Its study.';
COMMENT ON COLUMN trawl_store.trials.trial IS 'Number within the study, from 0.';
COMMENT ON COLUMN trawl_store.trials.state IS 'See ARCHITECTURE.md for how states follow each other.';
COMMENT ON COLUMN trawl_store.trials.params IS 'The sampled parameters by name.';
COMMENT ON COLUMN trawl_store.trials.epochs IS 'Passes over the training rows.';
COMMENT ON COLUMN trawl_store.trials.value IS 'Mean of the folds'' objective metric.';
COMMENT ON COLUMN trawl_store.trials.value_std IS 'Sample standard deviation over the folds; null for a holdout.';
COMMENT ON COLUMN trawl_store.trials.rank_key IS 'The value, negated where a higher one is better: sorts from best to worst.';
COMMENT ON COLUMN trawl_store.trials.error IS 'Why it failed; diverged for a loss that is not finite.';
COMMENT ON COLUMN trawl_store.trials.attempts IS 'Most leases that one of its jobs took.';
COMMENT ON COLUMN trawl_store.trials.worker_seconds IS 'Time that workers spent on it, a job''s time shared equally among its folds.';
COMMENT ON COLUMN trawl_store.trials.started_at IS 'When its first job was leased.';
COMMENT ON COLUMN trawl_store.trials.finished_at IS 'When it ended.';

CREATE TABLE trawl_store.refits (
    study_id    uuid NOT NULL REFERENCES trawl_store.studies,
    refit       integer NOT NULL CHECK (refit >= 0),
    trial       integer NOT NULL,
    state       text NOT NULL DEFAULT 'queued'
        CHECK (state IN ('queued', 'running', 'completed', 'failed', 'cancelled')),
    params      jsonb NOT NULL,
    epochs      integer NOT NULL CHECK (epochs > 0),
    ends_study  boolean NOT NULL,
    value       double precision CHECK (value > '-Infinity' AND value < 'Infinity'),
    value_std   double precision CHECK (value_std >= 0 AND value_std < 'Infinity'),
    test_loss   double precision CHECK (test_loss > '-Infinity' AND test_loss < 'Infinity'),
    final_test_loss double precision CHECK (final_test_loss > '-Infinity' AND final_test_loss < 'Infinity'),
    error       text,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at timestamptz,
    PRIMARY KEY (study_id, refit),
    FOREIGN KEY (study_id, trial) REFERENCES trawl_store.trials,
    CONSTRAINT refits_measured_when_completed CHECK ((state = 'completed') = (test_loss IS NOT NULL)),
    CONSTRAINT refits_error_when_failed CHECK ((state = 'failed') = (error IS NOT NULL))
);
COMMENT ON TABLE  trawl_store.refits IS 'One configuration each that is trained again, for longer, and measured on the test set.';
COMMENT ON COLUMN trawl_store.refits.study_id IS 'Its study.';
COMMENT ON COLUMN trawl_store.refits.refit IS 'Number within the study, from 0.';
COMMENT ON COLUMN trawl_store.refits.trial IS 'The trial whose configuration it is.';
COMMENT ON COLUMN trawl_store.refits.state IS 'See ARCHITECTURE.md for how states follow each other.';
COMMENT ON COLUMN trawl_store.refits.params IS 'The trial''s parameters with those of the study''s refit section put in.';
COMMENT ON COLUMN trawl_store.refits.epochs IS 'Passes over the training rows.';
COMMENT ON COLUMN trawl_store.refits.ends_study IS 'True for the refit that starts when the search ends: the study ends with it.';
COMMENT ON COLUMN trawl_store.refits.value IS 'Mean over the folds of the objective metric.';
COMMENT ON COLUMN trawl_store.refits.value_std IS 'Sample standard deviation over the folds; null for a holdout.';
COMMENT ON COLUMN trawl_store.refits.test_loss IS 'Loss on the test rows after training on all training rows.';
COMMENT ON COLUMN trawl_store.refits.final_test_loss IS 'The same, from when the fit on all training rows is done until the folds are.';
COMMENT ON COLUMN trawl_store.refits.error IS 'Why it failed.';
COMMENT ON COLUMN trawl_store.refits.created_at IS 'When it was asked for.';
COMMENT ON COLUMN trawl_store.refits.finished_at IS 'When it ended.';
