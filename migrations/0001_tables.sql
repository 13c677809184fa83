-- Tables live in trawl_store and are internal. The schema trawl holds the views for users.
CREATE SCHEMA trawl_store;
COMMENT ON SCHEMA trawl_store IS 'The coordinator''s tables. Read the views of the schema trawl instead: those are stable.';


CREATE TABLE trawl_store.dataset_files (
    sha256        bytea PRIMARY KEY CHECK (octet_length(sha256) = 32),
    bytes         bigint NOT NULL CHECK (bytes >= 0),
    registered_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE  trawl_store.dataset_files IS 'Files of datasets. Their bytes are in the object store as datasets/SHA256. Workers read these, never a path.';
COMMENT ON COLUMN trawl_store.dataset_files.sha256 IS 'SHA-256 of the bytes, which identifies the file.';
COMMENT ON COLUMN trawl_store.dataset_files.bytes IS 'Size of the file.';
COMMENT ON COLUMN trawl_store.dataset_files.registered_at IS 'When it was last registered. A file that no study uses is removed an hour later.';


CREATE TABLE trawl_store.studies (
    study_id           uuid PRIMARY KEY,
    name               text NOT NULL,
    state              text NOT NULL CHECK (state IN ('running', 'paused', 'refitting', 'completed', 'failed', 'cancelled')),
    error              text,
    pause_reason       text,
    spec               jsonb NOT NULL,
    seed               bigint NOT NULL CHECK (seed >= 0),
    goal               text NOT NULL CHECK (goal IN ('minimize', 'maximize')),
    objectives         text[] CHECK (cardinality(objectives) > 1),
    goals              text[],
    train_file         bytea NOT NULL REFERENCES trawl_store.dataset_files,
    train_targets_file bytea REFERENCES trawl_store.dataset_files,
    validation_file    bytea REFERENCES trawl_store.dataset_files,
    validation_targets_file bytea REFERENCES trawl_store.dataset_files,
    test_file          bytea REFERENCES trawl_store.dataset_files,
    test_targets_file  bytea REFERENCES trawl_store.dataset_files,
    test_is_labelled   boolean NOT NULL,
    file_names         jsonb NOT NULL DEFAULT '{}',
    train_rows         integer NOT NULL CHECK (train_rows > 0),
    sample_shape       integer[] NOT NULL CHECK (cardinality(sample_shape) IN (1, 3) AND 0 < ALL (sample_shape)),
    sample_words       integer[] NOT NULL DEFAULT '{}' CHECK (cardinality(sample_words) IN (0, 2) AND 0 <= ALL (sample_words)),
    class_count        integer CHECK (class_count > 1),
    target_count       integer NOT NULL DEFAULT 1 CHECK (target_count > 0),
    fold_rows          integer[] CHECK (cardinality(fold_rows) % 2 = 0 AND 0 < ALL (fold_rows)),
    max_trials         integer NOT NULL CHECK (max_trials > 0),
    next_trial         integer NOT NULL DEFAULT 0 CHECK (next_trial BETWEEN 0 AND max_trials),
    ends_before        integer[] NOT NULL DEFAULT '{}',
    trials_enqueued    integer NOT NULL DEFAULT 0 CHECK (trials_enqueued >= 0),
    stops_at           timestamptz,
    stop_reason        text,
    priority           integer NOT NULL CHECK (priority > 0),
    submitted_by       text,
    turn               double precision NOT NULL DEFAULT 0,
    folds_wait         boolean NOT NULL DEFAULT false,
    generation_trials  integer NOT NULL CHECK (generation_trials > 0),
    generation_lag     integer CHECK (generation_lag >= 0),
    trials_completed   integer NOT NULL DEFAULT 0,
    trials_pruned      integer NOT NULL DEFAULT 0,
    trials_failed      integer NOT NULL DEFAULT 0,
    trials_cancelled   integer NOT NULL DEFAULT 0,
    epochs_reported    bigint NOT NULL DEFAULT 0,
    epoch_budget       bigint NOT NULL CHECK (epoch_budget >= 0),
    created_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at        timestamptz,
    deleted_at         timestamptz,
    CONSTRAINT studies_trials_within_budget
        CHECK (trials_completed + trials_pruned + trials_failed + trials_cancelled <= max_trials),
    CONSTRAINT studies_finished_when_final
        CHECK ((state IN ('completed', 'failed', 'cancelled')) = (finished_at IS NOT NULL)),
    CONSTRAINT studies_goal_of_each_objective
        CHECK (cardinality(objectives) IS NOT DISTINCT FROM cardinality(goals) AND (goals IS NULL OR goals[1] = goal)),
    CONSTRAINT studies_pause_reason_when_paused CHECK (pause_reason IS NULL OR state = 'paused'),
    CONSTRAINT studies_targets_of_both_parts
        CHECK (test_file IS NULL OR (train_targets_file IS NULL) = (test_targets_file IS NULL)),
    CONSTRAINT studies_targets_of_validation_part
        CHECK ((validation_targets_file IS NOT NULL) = (validation_file IS NOT NULL AND train_targets_file IS NOT NULL))
);
-- A deleted study frees its name and its place in the list at once.
CREATE UNIQUE INDEX studies_name ON trawl_store.studies (name) WHERE deleted_at IS NULL;
CREATE INDEX studies_newest ON trawl_store.studies (created_at DESC, study_id) WHERE deleted_at IS NULL;
CREATE INDEX studies_deleted ON trawl_store.studies (deleted_at) WHERE deleted_at IS NOT NULL;
COMMENT ON TABLE  trawl_store.studies IS 'Studies. A study is one search.';
COMMENT ON COLUMN trawl_store.studies.study_id IS 'Identifies the study for ever.';
COMMENT ON COLUMN trawl_store.studies.name IS 'Unique among the studies that are not deleted.';
COMMENT ON COLUMN trawl_store.studies.state IS 'See ARCHITECTURE.md for how states follow each other.';
COMMENT ON COLUMN trawl_store.studies.error IS 'Why it failed.';
COMMENT ON COLUMN trawl_store.studies.pause_reason IS 'Why it paused by itself; null where a user paused it.';
COMMENT ON COLUMN trawl_store.studies.spec IS 'The study as it was submitted, in the JSON form of trawl.v1.Study. It never changes; the present max_trials has a column of its own.';
COMMENT ON COLUMN trawl_store.studies.seed IS 'Source of all its random numbers.';
COMMENT ON COLUMN trawl_store.studies.goal IS 'Direction in which a trial''s value is better.';
COMMENT ON COLUMN trawl_store.studies.objectives IS 'Names of its objectives, if there are several; the first one ranks trials.';
COMMENT ON COLUMN trawl_store.studies.goals IS 'Direction in which each of these is better.';
COMMENT ON COLUMN trawl_store.studies.train_file IS 'File of the training part: its features, or the whole part.';
COMMENT ON COLUMN trawl_store.studies.train_targets_file IS 'File of the training part''s targets, if they have one of their own.';
COMMENT ON COLUMN trawl_store.studies.validation_file IS 'File of the validation part, if it has its own: its features, or the whole part.';
COMMENT ON COLUMN trawl_store.studies.validation_targets_file IS 'File of the validation part''s targets, if they have one of their own.';
COMMENT ON COLUMN trawl_store.studies.test_file IS 'File of the test part, if there is one: its features, or the whole part.';
COMMENT ON COLUMN trawl_store.studies.test_targets_file IS 'File of the test part''s targets, if they have one of their own.';
COMMENT ON COLUMN trawl_store.studies.test_is_labelled IS 'False if the test rows have no targets: they are predicted, but not measured.';
COMMENT ON COLUMN trawl_store.studies.file_names IS 'Names of its files as its submitter wrote them, by the field that names the file. No part of the study.';
COMMENT ON COLUMN trawl_store.studies.train_rows IS 'Rows of the training part and the validation part together.';
COMMENT ON COLUMN trawl_store.studies.sample_shape IS 'Shape of a row''s features: [features], or [channels, height, width].';
COMMENT ON COLUMN trawl_store.studies.sample_words IS 'For a table with columns of words, their number, and the number of their features; otherwise empty.';
COMMENT ON COLUMN trawl_store.studies.class_count IS 'Number of classes; null where numbers are predicted.';
COMMENT ON COLUMN trawl_store.studies.target_count IS 'Number of numbers predicted for a row; 1 if classes are predicted.';
COMMENT ON COLUMN trawl_store.studies.fold_rows IS 'Numbers of training and validation rows of each fold, if a column of the table or a validation part determines them; null if they follow from train_rows.';
COMMENT ON COLUMN trawl_store.studies.max_trials IS 'Number of trials in all.';
COMMENT ON COLUMN trawl_store.studies.next_trial IS 'The first trial that is not planned yet.';
COMMENT ON COLUMN trawl_store.studies.ends_before IS 'max_trials before each extension, ascending.';
COMMENT ON COLUMN trawl_store.studies.trials_enqueued IS 'Number of trials that users added with configurations of their own.';
COMMENT ON COLUMN trawl_store.studies.stops_at IS 'Time after which no trial begins; null without such a bound, or after an extension.';
COMMENT ON COLUMN trawl_store.studies.stop_reason IS 'The bound that ended the search early, since when max_trials is the number of planned trials; null otherwise.';
COMMENT ON COLUMN trawl_store.studies.priority IS 'Its share of the workers relative to the priorities of other studies.';
COMMENT ON COLUMN trawl_store.studies.submitted_by IS 'Id of the token that submitted it, or ''operator''; null if no token was needed.';
COMMENT ON COLUMN trawl_store.studies.turn IS 'Place in the queue of its last job; the next job is placed a step behind, see jobs.position.';
COMMENT ON COLUMN trawl_store.studies.folds_wait IS 'True if folds that go on from a rung wait for a job.';
COMMENT ON COLUMN trawl_store.studies.generation_trials IS 'Number of trials of a generation.';
COMMENT ON COLUMN trawl_store.studies.generation_lag IS 'Number of preceding generations whose results a generation does not wait for; null if it waits for no results.';
COMMENT ON COLUMN trawl_store.studies.trials_completed IS 'Number of trials that completed.';
COMMENT ON COLUMN trawl_store.studies.trials_pruned IS 'Number of trials that were pruned.';
COMMENT ON COLUMN trawl_store.studies.trials_failed IS 'Number of trials that failed.';
COMMENT ON COLUMN trawl_store.studies.trials_cancelled IS 'Number of trials that were cancelled.';
COMMENT ON COLUMN trawl_store.studies.epochs_reported IS 'Number of epoch reports stored, including refits.';
COMMENT ON COLUMN trawl_store.studies.epoch_budget IS 'Most epoch reports that it may store, including its refits. The quotas count this; of a cancelled study, epochs_reported.';
COMMENT ON COLUMN trawl_store.studies.created_at IS 'When it was submitted.';
COMMENT ON COLUMN trawl_store.studies.finished_at IS 'When it ended.';
COMMENT ON COLUMN trawl_store.studies.deleted_at IS 'When a user deleted it. Its rows are removed in steps, this one last.';


CREATE TABLE trawl_store.trials (
    study_id       uuid NOT NULL REFERENCES trawl_store.studies,
    trial          integer NOT NULL CHECK (trial >= 0),
    state          text NOT NULL DEFAULT 'queued'
        CHECK (state IN ('queued', 'running', 'completed', 'pruned', 'failed', 'cancelled')),
    params         jsonb NOT NULL,
    chosen         jsonb,
    twin_of        integer CHECK (twin_of >= 0 AND twin_of < trial),
    epochs         integer NOT NULL CHECK (epochs > 0),
    generation     integer NOT NULL CHECK (generation >= 0),
    rung           integer CHECK (rung >= 0),
    rung_value     double precision CHECK (rung_value > '-Infinity' AND rung_value < 'Infinity'),
    rung_trials    integer CHECK (rung_trials > 0),
    value          double precision CHECK (value > '-Infinity' AND value < 'Infinity'),
    value_std      double precision CHECK (value_std >= 0 AND value_std < 'Infinity'),
    value_seed_std double precision CHECK (value_seed_std >= 0 AND value_seed_std < 'Infinity'),
    rank_key       double precision,
    further_keys   double precision[] CHECK (cardinality(further_keys) > 0),
    error          text,
    attempts       integer NOT NULL DEFAULT 0,
    worker_seconds double precision NOT NULL DEFAULT 0,
    started_at     timestamptz,
    finished_at    timestamptz,
    PRIMARY KEY (study_id, trial),
    CONSTRAINT trials_value_when_completed CHECK ((state = 'completed') = (value IS NOT NULL)),
    CONSTRAINT trials_ranked_when_completed CHECK ((value IS NULL) = (rank_key IS NULL)),
    CONSTRAINT trials_compared_when_pruned CHECK (state <> 'pruned' OR (rung_value IS NOT NULL AND rung_trials IS NOT NULL)),
    CONSTRAINT trials_error_when_failed CHECK ((state = 'failed') = (error IS NOT NULL))
) WITH (fillfactor = 80);
-- The ranking of a study, from best to worst.
CREATE INDEX trials_ranking ON trawl_store.trials (study_id, rank_key, trial) WHERE state = 'completed';
CREATE INDEX trials_running ON trawl_store.trials (study_id) WHERE state = 'running';
CREATE INDEX trials_open ON trawl_store.trials (study_id, generation) WHERE state IN ('queued', 'running');
CREATE INDEX trials_of_generation ON trawl_store.trials (study_id, generation);
CREATE INDEX trials_chosen ON trawl_store.trials (study_id) WHERE chosen IS NOT NULL;
COMMENT ON TABLE  trawl_store.trials IS 'Trials: one sampled configuration each. They are planned window by window, when a study''s queue is empty.';
COMMENT ON COLUMN trawl_store.trials.study_id IS 'Its study.';
COMMENT ON COLUMN trawl_store.trials.trial IS 'Number within the study, from 0.';
COMMENT ON COLUMN trawl_store.trials.state IS 'See ARCHITECTURE.md for how states follow each other.';
COMMENT ON COLUMN trawl_store.trials.params IS 'The sampled parameters by name.';
COMMENT ON COLUMN trawl_store.trials.chosen IS 'The parameters that a user gave; null where the sampler proposed all of them.';
COMMENT ON COLUMN trawl_store.trials.twin_of IS 'The first trial with the same parameters; null if it is this one. Searched for only where parameters may repeat: in finite spaces, and among chosen trials.';
COMMENT ON COLUMN trawl_store.trials.epochs IS 'Number of passes over the training rows.';
COMMENT ON COLUMN trawl_store.trials.generation IS 'The generation that it belongs to, from 0.';
COMMENT ON COLUMN trawl_store.trials.rung IS 'The rung that it is at, or that it ended at, from 0; null where it is not raced.';
COMMENT ON COLUMN trawl_store.trials.rung_value IS 'Its value at the rung where it was last compared: the mean over the folds of that rung.';
COMMENT ON COLUMN trawl_store.trials.rung_trials IS 'Number of trials compared there.';
COMMENT ON COLUMN trawl_store.trials.value IS 'Mean of the folds'' objective metric.';
COMMENT ON COLUMN trawl_store.trials.value_std IS 'Sample standard deviation over the folds, each with its mean over seeds; null for one fold.';
COMMENT ON COLUMN trawl_store.trials.value_seed_std IS 'Standard deviation over seeds on the same fold: the square root of the mean over the folds of the sample variance; null for one seed.';
COMMENT ON COLUMN trawl_store.trials.rank_key IS 'The value, negated if a higher one is better. Ascending order is from best to worst.';
COMMENT ON COLUMN trawl_store.trials.further_keys IS 'Its rank keys of the further objectives: as a whole trial, or at the rung where it was last compared; null with one objective.';
COMMENT ON COLUMN trawl_store.trials.error IS 'Why it failed; diverged for a loss that is not finite.';
COMMENT ON COLUMN trawl_store.trials.attempts IS 'Largest number of attempts at one of its jobs.';
COMMENT ON COLUMN trawl_store.trials.worker_seconds IS 'Time that workers spent on it. A job''s time is shared equally among its folds.';
COMMENT ON COLUMN trawl_store.trials.started_at IS 'When its first job was leased.';
COMMENT ON COLUMN trawl_store.trials.finished_at IS 'When it ended.';


CREATE TABLE trawl_store.proposals (
    study_id         uuid NOT NULL REFERENCES trawl_store.studies,
    first_trial      integer NOT NULL CHECK (first_trial >= 0),
    trials           integer NOT NULL CHECK (trials > 0),
    history_sha256   bytea NOT NULL CHECK (octet_length(history_sha256) = 32),
    proposals_sha256 bytea NOT NULL CHECK (octet_length(proposals_sha256) = 32),
    PRIMARY KEY (study_id, first_trial)
);
COMMENT ON TABLE  trawl_store.proposals IS 'Hashes of joint proposals of samplers that learn, and of their histories: a replay detects later changes of either.';
COMMENT ON COLUMN trawl_store.proposals.study_id IS 'Its study.';
COMMENT ON COLUMN trawl_store.proposals.first_trial IS 'The first proposed trial.';
COMMENT ON COLUMN trawl_store.proposals.trials IS 'Number of proposed trials.';
COMMENT ON COLUMN trawl_store.proposals.history_sha256 IS 'Hash of the known results and the pending trials.';
COMMENT ON COLUMN trawl_store.proposals.proposals_sha256 IS 'Hash of the proposed parameters.';


CREATE TABLE trawl_store.prior_results (
    study_id     uuid NOT NULL REFERENCES trawl_store.studies,
    number       integer NOT NULL CHECK (number >= 0),
    params       jsonb NOT NULL,
    rank_key     double precision NOT NULL,
    further_keys double precision[] CHECK (cardinality(further_keys) > 0),
    PRIMARY KEY (study_id, number)
);
COMMENT ON TABLE  trawl_store.prior_results IS 'Results of other studies that count as a study''s own, as they were when it was submitted.';
COMMENT ON COLUMN trawl_store.prior_results.study_id IS 'The study that takes them.';
COMMENT ON COLUMN trawl_store.prior_results.number IS 'Place among them, from 0: study by study, in the order in which they are named, each in the order of its trials.';
COMMENT ON COLUMN trawl_store.prior_results.params IS 'The parameters of the trial by name.';
COMMENT ON COLUMN trawl_store.prior_results.rank_key IS 'Its rank key. Ascending order is from best to worst.';
COMMENT ON COLUMN trawl_store.prior_results.further_keys IS 'Its rank keys of the further objectives; null with one objective.';


CREATE TABLE trawl_store.refits (
    study_id            uuid NOT NULL REFERENCES trawl_store.studies,
    refit               integer NOT NULL CHECK (refit >= 0),
    trial               integer NOT NULL,
    state               text NOT NULL DEFAULT 'queued'
        CHECK (state IN ('queued', 'running', 'completed', 'failed', 'cancelled')),
    params              jsonb NOT NULL,
    epochs              integer NOT NULL CHECK (epochs > 0),
    ends_study          boolean NOT NULL,
    value               double precision CHECK (value > '-Infinity' AND value < 'Infinity'),
    value_std           double precision CHECK (value_std >= 0 AND value_std < 'Infinity'),
    value_seed_std      double precision CHECK (value_seed_std >= 0 AND value_seed_std < 'Infinity'),
    final_test_loss     double precision CHECK (final_test_loss > '-Infinity' AND final_test_loss < 'Infinity'),
    final_test_accuracy double precision CHECK (final_test_accuracy BETWEEN 0 AND 1),
    test_loss           double precision CHECK (test_loss > '-Infinity' AND test_loss < 'Infinity'),
    test_accuracy       double precision CHECK (test_accuracy BETWEEN 0 AND 1),
    test_low            double precision CHECK (test_low > '-Infinity'),
    test_high           double precision CHECK (test_high < 'Infinity'),
    error               text,
    created_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at         timestamptz,
    PRIMARY KEY (study_id, refit),
    FOREIGN KEY (study_id, trial) REFERENCES trawl_store.trials,
    CONSTRAINT refits_measured_when_completed CHECK (test_loss IS NULL OR state = 'completed'),
    CONSTRAINT refits_interval_has_two_ends CHECK (test_low <= test_high OR (test_low IS NULL AND test_high IS NULL)),
    CONSTRAINT refits_error_when_failed CHECK ((state = 'failed') = (error IS NOT NULL))
);
COMMENT ON TABLE  trawl_store.refits IS 'Refits. A refit trains one configuration again, for longer, and measures it on the test rows.';
COMMENT ON COLUMN trawl_store.refits.study_id IS 'Its study.';
COMMENT ON COLUMN trawl_store.refits.refit IS 'Number within the study, from 0.';
COMMENT ON COLUMN trawl_store.refits.trial IS 'The trial whose configuration it trains.';
COMMENT ON COLUMN trawl_store.refits.state IS 'See ARCHITECTURE.md for how states follow each other.';
COMMENT ON COLUMN trawl_store.refits.params IS 'The trial''s parameters, as replaced by the study''s refit section.';
COMMENT ON COLUMN trawl_store.refits.epochs IS 'Number of passes over the training rows.';
COMMENT ON COLUMN trawl_store.refits.ends_study IS 'True for the refit that starts when the search ends. The study ends with it.';
COMMENT ON COLUMN trawl_store.refits.value IS 'Mean of the folds'' objective metric.';
COMMENT ON COLUMN trawl_store.refits.value_std IS 'Sample standard deviation over the folds, each with its mean over seeds; null for one fold.';
COMMENT ON COLUMN trawl_store.refits.value_seed_std IS 'Standard deviation over seeds on the same fold: the square root of the mean over the folds of the sample variance; null for one seed.';
COMMENT ON COLUMN trawl_store.refits.final_test_loss IS 'Loss on the test rows, kept here from the end of the fit on all training rows until the refit completes.';
COMMENT ON COLUMN trawl_store.refits.final_test_accuracy IS 'Accuracy on the test rows, kept here likewise; null without classes.';
COMMENT ON COLUMN trawl_store.refits.test_loss IS 'Loss on the test rows after training on all training rows; null without test targets.';
COMMENT ON COLUMN trawl_store.refits.test_accuracy IS 'Accuracy on the test rows after training on all training rows; null without classes.';
COMMENT ON COLUMN trawl_store.refits.test_low IS 'Lower end of the 90 % interval of the loss on such rows. Computed after the end; null if no row losses are kept.';
COMMENT ON COLUMN trawl_store.refits.test_high IS 'Its upper end.';
COMMENT ON COLUMN trawl_store.refits.error IS 'Why it failed.';
COMMENT ON COLUMN trawl_store.refits.created_at IS 'When it was requested.';
COMMENT ON COLUMN trawl_store.refits.finished_at IS 'When it ended.';


CREATE TABLE trawl_store.workers (
    worker_id     uuid PRIMARY KEY,
    host          text NOT NULL,
    device        text NOT NULL,
    slots         integer NOT NULL CHECK (slots > 0),
    version       text NOT NULL,
    registered_by text,
    lost_after    interval NOT NULL,
    registered_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_seen_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    stopped_at    timestamptz
) WITH (fillfactor = 60);
COMMENT ON TABLE  trawl_store.workers IS 'Worker processes that registered.';
COMMENT ON COLUMN trawl_store.workers.worker_id IS 'Chosen by the process at its start.';
COMMENT ON COLUMN trawl_store.workers.host IS 'Host name.';
COMMENT ON COLUMN trawl_store.workers.device IS 'cpu or cuda:N.';
COMMENT ON COLUMN trawl_store.workers.slots IS 'Number of jobs that it can train at once.';
COMMENT ON COLUMN trawl_store.workers.version IS 'Version of the worker.';
COMMENT ON COLUMN trawl_store.workers.registered_by IS 'Owner of its id: the id of a token, or operator or worker for the tokens that the coordinator was started with. Null if no token was needed.';
COMMENT ON COLUMN trawl_store.workers.lost_after IS 'Length of silence after which it counts as lost.';
COMMENT ON COLUMN trawl_store.workers.registered_at IS 'When it first registered.';
COMMENT ON COLUMN trawl_store.workers.last_seen_at IS 'When its last heartbeat came.';
COMMENT ON COLUMN trawl_store.workers.stopped_at IS 'When it said goodbye.';


CREATE TABLE trawl_store.jobs (
    job_id      uuid PRIMARY KEY,
    study_id    uuid NOT NULL REFERENCES trawl_store.studies,
    refit       integer,
    split       text NOT NULL CHECK (split IN ('validation', 'all')),
    position    double precision NOT NULL,
    members     integer NOT NULL CHECK (members > 0),
    epochs      integer NOT NULL CHECK (epochs > 0),
    first_epoch integer NOT NULL CHECK (first_epoch >= 0),
    end_epoch   integer NOT NULL CHECK ((end_epoch > first_epoch OR refit IS NOT NULL AND end_epoch = first_epoch) AND end_epoch <= epochs),
    state       text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'leased', 'completed', 'failed', 'cancelled')),
    attempts    integer NOT NULL DEFAULT 0,
    lease_epoch integer NOT NULL DEFAULT 0,
    last_error  text,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at timestamptz,
    FOREIGN KEY (study_id, refit) REFERENCES trawl_store.refits
) WITH (fillfactor = 80);
CREATE INDEX jobs_queue ON trawl_store.jobs (position) WHERE state = 'queued';
CREATE INDEX jobs_live ON trawl_store.jobs (study_id) WHERE state IN ('queued', 'leased');
CREATE INDEX jobs_of_study ON trawl_store.jobs (study_id, refit);
COMMENT ON TABLE  trawl_store.jobs IS 'Jobs. A worker leases a job: folds that train together.';
COMMENT ON COLUMN trawl_store.jobs.job_id IS 'Identifies the job.';
COMMENT ON COLUMN trawl_store.jobs.study_id IS 'Its study.';
COMMENT ON COLUMN trawl_store.jobs.refit IS 'Its refit; null for folds of trials.';
COMMENT ON COLUMN trawl_store.jobs.split IS 'validation: as the study validates. all: all rows train, and the test rows are measured.';
COMMENT ON COLUMN trawl_store.jobs.position IS 'Place in the queue: the place of its study''s previous job, plus the number of its submitter''s running studies / priority, but at least the head of the queue at that time. A job that comes back gets its old place.';
COMMENT ON COLUMN trawl_store.jobs.members IS 'Number of folds that it trains.';
COMMENT ON COLUMN trawl_store.jobs.epochs IS 'Number of passes over the training rows that each of its folds completes in the end.';
COMMENT ON COLUMN trawl_store.jobs.first_epoch IS 'The first epoch that it trains, from 0.';
COMMENT ON COLUMN trawl_store.jobs.end_epoch IS 'The epoch before which it ends. Equals first_epoch for a refit that keeps the networks of folds, and trains nothing.';
COMMENT ON COLUMN trawl_store.jobs.state IS 'See ARCHITECTURE.md for how states follow each other.';
COMMENT ON COLUMN trawl_store.jobs.attempts IS 'Number of leases granted, without drained ones.';
COMMENT ON COLUMN trawl_store.jobs.lease_epoch IS 'Number of leases granted.';
COMMENT ON COLUMN trawl_store.jobs.last_error IS 'Why the last lease did not end it.';
COMMENT ON COLUMN trawl_store.jobs.created_at IS 'When it was planned.';
COMMENT ON COLUMN trawl_store.jobs.finished_at IS 'When it ended.';


CREATE TABLE trawl_store.folds (
    fold_id           bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    study_id          uuid NOT NULL REFERENCES trawl_store.studies,
    trial             integer,
    refit             integer,
    fold              integer NOT NULL CHECK (fold >= 0),
    job_id            uuid REFERENCES trawl_store.jobs,
    member            integer CHECK (member >= 0),
    checkpoint_job    uuid REFERENCES trawl_store.jobs,
    state             text NOT NULL DEFAULT 'queued'
        CHECK (state IN ('queued', 'running', 'paused', 'completed', 'pruned', 'failed', 'cancelled')),
    end_epoch         integer NOT NULL CHECK (end_epoch > 0),
    epochs            integer NOT NULL DEFAULT 0,
    train_loss        double precision,
    metrics           text[] NOT NULL DEFAULT '{}',
    last_values       double precision[] NOT NULL DEFAULT '{}' CHECK (NOT last_values && '{NaN, Infinity, -Infinity}'),
    best_values       double precision[] NOT NULL DEFAULT '{}' CHECK (NOT best_values && '{NaN, Infinity, -Infinity}'),
    best_epoch        integer,
    diverged_epoch    integer CHECK (diverged_epoch >= 0),
    error             text,
    CONSTRAINT folds_member_of_job CHECK ((job_id IS NULL) = (member IS NULL)),
    CONSTRAINT folds_of_trial_or_refit CHECK ((trial IS NULL) <> (refit IS NULL)),
    CONSTRAINT folds_error_when_failed CHECK ((state = 'failed') = (error IS NOT NULL)),
    FOREIGN KEY (study_id, trial) REFERENCES trawl_store.trials,
    FOREIGN KEY (study_id, refit) REFERENCES trawl_store.refits
) WITH (fillfactor = 80);
-- Folds of refits are in both indexes: the first one finds all folds of a study for its deletion.
CREATE UNIQUE INDEX folds_of_trial ON trawl_store.folds (study_id, trial, fold);
CREATE UNIQUE INDEX folds_of_refit ON trawl_store.folds (study_id, refit, fold) WHERE refit IS NOT NULL;
CREATE UNIQUE INDEX folds_of_job ON trawl_store.folds (job_id, member);
CREATE INDEX folds_of_checkpoint ON trawl_store.folds (checkpoint_job) WHERE checkpoint_job IS NOT NULL;
COMMENT ON TABLE  trawl_store.folds IS 'Folds. A fold is one train/validation split of a trial or of a refit.';
COMMENT ON COLUMN trawl_store.folds.fold_id IS 'Identifies the fold in curves.';
COMMENT ON COLUMN trawl_store.folds.study_id IS 'Its study.';
COMMENT ON COLUMN trawl_store.folds.trial IS 'Its trial; null for a refit''s.';
COMMENT ON COLUMN trawl_store.folds.refit IS 'Its refit; null for a trial''s.';
COMMENT ON COLUMN trawl_store.folds.fold IS 'Number, from 0. A refit''s fit on all training rows comes after its folds.';
COMMENT ON COLUMN trawl_store.folds.job_id IS 'The job that trains it, or last trained it; null while it waits for a job.';
COMMENT ON COLUMN trawl_store.folds.member IS 'Its place among the job''s members, from 0.';
COMMENT ON COLUMN trawl_store.folds.state IS 'See ARCHITECTURE.md for how states follow each other.';
COMMENT ON COLUMN trawl_store.folds.checkpoint_job IS 'The job that trained it before, whose last checkpoint it goes on from.';
COMMENT ON COLUMN trawl_store.folds.end_epoch IS 'The epoch up to which it is trained; for a raced trial, its rung''s.';
COMMENT ON COLUMN trawl_store.folds.epochs IS 'Number of epochs that were reported when its last job ended.';
COMMENT ON COLUMN trawl_store.folds.train_loss IS 'Mean training loss of the last epoch.';
COMMENT ON COLUMN trawl_store.folds.metrics IS 'Names of the metrics on the validation rows.';
COMMENT ON COLUMN trawl_store.folds.last_values IS 'Their values after the last epoch.';
COMMENT ON COLUMN trawl_store.folds.best_values IS 'The best value of each metric of any epoch.';
COMMENT ON COLUMN trawl_store.folds.best_epoch IS 'The epoch with the lowest validation loss, from 0.';
COMMENT ON COLUMN trawl_store.folds.diverged_epoch IS 'The epoch in which it diverged, from 0; null if it did not.';
COMMENT ON COLUMN trawl_store.folds.error IS 'Why it failed; diverged for a loss that is not finite.';


CREATE TABLE trawl_store.row_losses (
    fold_id  bigint PRIMARY KEY REFERENCES trawl_store.folds,
    study_id uuid NOT NULL REFERENCES trawl_store.studies,
    trial    integer,
    losses   real[] NOT NULL CHECK (NOT losses && '{NaN, Infinity, -Infinity}')
);
CREATE INDEX row_losses_of_trials ON trawl_store.row_losses (study_id, trial);
-- Losses that wait for the computation of their interval, after which they are removed.
CREATE INDEX row_losses_of_refits ON trawl_store.row_losses (fold_id) WHERE trial IS NULL;
COMMENT ON TABLE  trawl_store.row_losses IS 'Losses of single rows after the last epoch: for folds of the 64 best trials and of unfinished ones, and for refits whose interval is not computed yet.';
COMMENT ON COLUMN trawl_store.row_losses.fold_id IS 'The fold.';
COMMENT ON COLUMN trawl_store.row_losses.study_id IS 'Its study.';
COMMENT ON COLUMN trawl_store.row_losses.trial IS 'Its trial; null for a refit''s.';
COMMENT ON COLUMN trawl_store.row_losses.losses IS 'Losses of its validation rows, ascending; for a refit''s fit on all training rows, of the test rows. 1 for a class that is not predicted, if accuracy is optimised.';


CREATE TABLE trawl_store.winners (
    study_id           uuid PRIMARY KEY REFERENCES trawl_store.studies,
    trial              integer NOT NULL,
    contenders         integer CHECK (contenders > 0),
    corrected_value    double precision CHECK (corrected_value > '-Infinity' AND corrected_value < 'Infinity'),
    corrected_low      double precision CHECK (corrected_low > '-Infinity'),
    corrected_high     double precision CHECK (corrected_high < 'Infinity'),
    p_better           double precision CHECK (p_better BETWEEN 0 AND 1),
    not_separable_from integer[] NOT NULL,
    FOREIGN KEY (study_id, trial) REFERENCES trawl_store.trials,
    CONSTRAINT winners_correction_is_whole CHECK (num_nulls(contenders, corrected_value, corrected_low, corrected_high) IN (0, 4))
);
COMMENT ON TABLE  trawl_store.winners IS 'The value of the best trial of each study whose search has ended. Computed after that.';
COMMENT ON COLUMN trawl_store.winners.study_id IS 'Its study.';
COMMENT ON COLUMN trawl_store.winners.trial IS 'The best trial.';
COMMENT ON COLUMN trawl_store.winners.contenders IS 'Number of trials among which it was chosen when its value was corrected; null if it was not.';
COMMENT ON COLUMN trawl_store.winners.corrected_value IS 'Its value, corrected for the bias of choosing and measuring by the same rows; null if their losses are not kept.';
COMMENT ON COLUMN trawl_store.winners.corrected_low IS 'Lower end of the 90 % interval of this value.';
COMMENT ON COLUMN trawl_store.winners.corrected_high IS 'Its upper end.';
COMMENT ON COLUMN trawl_store.winners.p_better IS 'Probability that it is better than the second best trial; null for a holdout.';
COMMENT ON COLUMN trawl_store.winners.not_separable_from IS 'Trials that it beats with a probability below 95 %, by rank, among the 64 best.';


CREATE TABLE trawl_store.baselines (
    study_id  uuid NOT NULL REFERENCES trawl_store.studies,
    baseline  text NOT NULL CHECK (baseline IN ('constant', 'linear')),
    value     double precision NOT NULL CHECK (value > '-Infinity' AND value < 'Infinity'),
    value_std double precision CHECK (value_std >= 0 AND value_std < 'Infinity'),
    PRIMARY KEY (study_id, baseline)
);
COMMENT ON TABLE  trawl_store.baselines IS 'What models without a search reach on the folds of a study. Measured by the worker of its first job.';
COMMENT ON COLUMN trawl_store.baselines.study_id IS 'Its study.';
COMMENT ON COLUMN trawl_store.baselines.baseline IS 'The model: constant or linear.';
COMMENT ON COLUMN trawl_store.baselines.value IS 'Its value: the mean over the folds of the metric that the study optimises.';
COMMENT ON COLUMN trawl_store.baselines.value_std IS 'Standard deviation over the folds; null for a single fold.';


CREATE TABLE trawl_store.importance (
    study_id   uuid NOT NULL REFERENCES trawl_store.studies,
    parameter  text NOT NULL,
    importance double precision NOT NULL CHECK (importance BETWEEN 0 AND 1),
    trials     integer NOT NULL CHECK (trials > 0),
    rung       integer CHECK (rung >= 0),
    PRIMARY KEY (study_id, parameter)
);
COMMENT ON TABLE  trawl_store.importance IS 'The importance of parameters of each study whose search has ended. Computed after that.';
COMMENT ON COLUMN trawl_store.importance.study_id IS 'Its study.';
COMMENT ON COLUMN trawl_store.importance.parameter IS 'Name of the parameter.';
COMMENT ON COLUMN trawl_store.importance.importance IS 'Its share of all importance, from 0 to 1.';
COMMENT ON COLUMN trawl_store.importance.trials IS 'Number of trials that it was computed from.';
COMMENT ON COLUMN trawl_store.importance.rung IS 'The rung at which they were compared; null for whole trials.';


CREATE TABLE trawl_store.hypervolumes (
    study_id    uuid NOT NULL REFERENCES trawl_store.studies,
    trial       integer NOT NULL,
    hypervolume double precision NOT NULL CHECK (hypervolume BETWEEN 0 AND 1),
    PRIMARY KEY (study_id, trial),
    FOREIGN KEY (study_id, trial) REFERENCES trawl_store.trials
);
COMMENT ON TABLE  trawl_store.hypervolumes IS 'How the front of a study with several objectives grew. Computed after its search has ended.';
COMMENT ON COLUMN trawl_store.hypervolumes.study_id IS 'Its study.';
COMMENT ON COLUMN trawl_store.hypervolumes.trial IS 'A completed trial.';
COMMENT ON COLUMN trawl_store.hypervolumes.hypervolume IS 'Share of the box between the best and the worst of each objective that trials up to this one dominate.';


-- A worker reports all members of its job together, some ten times a second: one row for each report costs far less
-- than one for each epoch of each fold. When the job completes, its rows become rows of curves.
CREATE TABLE trawl_store.job_reports (
    job_id      uuid NOT NULL REFERENCES trawl_store.jobs,
    first_epoch integer NOT NULL CHECK (first_epoch >= 0),
    epochs      integer NOT NULL CHECK (epochs > 0),
    reports     integer NOT NULL CHECK (reports >= 0),
    metrics     text[] NOT NULL,
    train_loss  double precision[] NOT NULL CHECK (NOT train_loss && '{NaN, Infinity, -Infinity}'),
    val         double precision[] NOT NULL CHECK (NOT val && '{NaN, Infinity, -Infinity}'),
    reported_at timestamptz NOT NULL,
    PRIMARY KEY (job_id, first_epoch),
    CONSTRAINT job_reports_value_of_each_metric CHECK (cardinality(val) = cardinality(train_loss) * cardinality(metrics))
);
COMMENT ON TABLE  trawl_store.job_reports IS 'Epoch reports of jobs under way, and of jobs that did not complete: each row has consecutive epochs of all members.';
COMMENT ON COLUMN trawl_store.job_reports.job_id IS 'The job.';
COMMENT ON COLUMN trawl_store.job_reports.first_epoch IS 'The first of its epochs, from 0.';
COMMENT ON COLUMN trawl_store.job_reports.epochs IS 'Number of epochs.';
COMMENT ON COLUMN trawl_store.job_reports.reports IS 'Number of epoch reports: one for each training loss.';
COMMENT ON COLUMN trawl_store.job_reports.metrics IS 'Names of the metrics in val.';
COMMENT ON COLUMN trawl_store.job_reports.train_loss IS 'Training losses, member by member, epoch by epoch. Null from the epoch in which a member diverged.';
COMMENT ON COLUMN trawl_store.job_reports.val IS 'Metrics on the validation rows: member by member, metric by metric, epoch by epoch.';
COMMENT ON COLUMN trawl_store.job_reports.reported_at IS 'When it became durable.';


CREATE TABLE trawl_store.curves (
    fold_id      bigint NOT NULL REFERENCES trawl_store.folds,
    first_epoch  integer NOT NULL CHECK (first_epoch >= 0),
    epochs       integer NOT NULL CHECK (epochs > 0),
    metrics      text[] NOT NULL,
    train_loss   double precision[] NOT NULL CHECK (NOT train_loss && '{NaN, Infinity, -Infinity}'),
    val          double precision[] NOT NULL CHECK (NOT val && '{NaN, Infinity, -Infinity}'),
    report_epoch integer[] NOT NULL,
    reported_at  timestamptz[] NOT NULL,
    PRIMARY KEY (fold_id, first_epoch),
    CONSTRAINT curves_loss_of_each_epoch CHECK (cardinality(train_loss) = epochs),
    CONSTRAINT curves_value_of_each_metric CHECK (cardinality(val) = cardinality(train_loss) * cardinality(metrics)),
    CONSTRAINT curves_time_of_each_report CHECK (cardinality(report_epoch) = cardinality(reported_at))
);
COMMENT ON TABLE  trawl_store.curves IS 'Epoch reports of folds whose job completed. Each row has up to 1,024 epochs of one fold.';
COMMENT ON COLUMN trawl_store.curves.fold_id IS 'The fold.';
COMMENT ON COLUMN trawl_store.curves.first_epoch IS 'The first of its epochs, from 0.';
COMMENT ON COLUMN trawl_store.curves.epochs IS 'Number of epochs.';
COMMENT ON COLUMN trawl_store.curves.metrics IS 'Names of the metrics in val.';
COMMENT ON COLUMN trawl_store.curves.train_loss IS 'Training losses, epoch by epoch.';
COMMENT ON COLUMN trawl_store.curves.val IS 'Metrics on the validation rows: metric by metric, epoch by epoch.';
COMMENT ON COLUMN trawl_store.curves.report_epoch IS 'The first epoch of each of its reports.';
COMMENT ON COLUMN trawl_store.curves.reported_at IS 'When each of these reports became durable.';


-- Narrow, with half of each page empty, and without an index on expires_at, so that every renewal is a HOT update.
CREATE TABLE trawl_store.leases (
    job_id     uuid PRIMARY KEY REFERENCES trawl_store.jobs,
    token      uuid NOT NULL,
    worker_id  uuid NOT NULL REFERENCES trawl_store.workers,
    expires_at timestamptz NOT NULL
) WITH (fillfactor = 50);
CREATE INDEX leases_of_worker ON trawl_store.leases (worker_id);
COMMENT ON TABLE  trawl_store.leases IS 'Live leases: at most one for each job.';
COMMENT ON COLUMN trawl_store.leases.job_id IS 'The leased job.';
COMMENT ON COLUMN trawl_store.leases.token IS 'The fencing token. Every write under the lease repeats it.';
COMMENT ON COLUMN trawl_store.leases.worker_id IS 'The worker that holds it.';
COMMENT ON COLUMN trawl_store.leases.expires_at IS 'When it ends, unless it is renewed.';


-- worker_id has no foreign key: workers are removed long after they are gone, but attempts stay as long as their study.
CREATE TABLE trawl_store.job_attempts (
    job_id      uuid NOT NULL REFERENCES trawl_store.jobs,
    lease_epoch integer NOT NULL,
    token       uuid NOT NULL UNIQUE,
    worker_id   uuid NOT NULL,
    granted_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at    timestamptz,
    outcome     text CHECK (outcome IN ('finished', 'drained', 'failed', 'expired', 'cancelled')),
    cause       text CHECK (cause IN ('worker_lost', 'out_of_memory', 'hung', 'bad_input', 'error')),
    error       text,
    PRIMARY KEY (job_id, lease_epoch),
    CONSTRAINT job_attempts_outcome_when_ended CHECK ((ended_at IS NULL) = (outcome IS NULL)),
    CONSTRAINT job_attempts_cause_when_failed
        CHECK ((cause IS NULL) = (outcome IS NULL OR outcome NOT IN ('failed', 'expired')))
);
COMMENT ON TABLE  trawl_store.job_attempts IS 'Granted leases and their ends: all of them, except that of a job''s drained ones only the last hundred are kept.';
COMMENT ON COLUMN trawl_store.job_attempts.job_id IS 'The job.';
COMMENT ON COLUMN trawl_store.job_attempts.lease_epoch IS 'Number of the job''s grant, from 1.';
COMMENT ON COLUMN trawl_store.job_attempts.token IS 'Fencing token of the lease, which identifies a repeated finish or release.';
COMMENT ON COLUMN trawl_store.job_attempts.worker_id IS 'The worker that held it, which may have been removed since.';
COMMENT ON COLUMN trawl_store.job_attempts.granted_at IS 'When it was granted.';
COMMENT ON COLUMN trawl_store.job_attempts.ended_at IS 'When it ended.';
COMMENT ON COLUMN trawl_store.job_attempts.outcome IS 'How it ended.';
COMMENT ON COLUMN trawl_store.job_attempts.cause IS 'Cause of the failure, if it failed or expired. Each cause has its own number of attempts.';
COMMENT ON COLUMN trawl_store.job_attempts.error IS 'Why it failed or expired.';


CREATE TABLE trawl_store.checkpoints (
    job_id     uuid NOT NULL REFERENCES trawl_store.jobs,
    number     integer NOT NULL CHECK (number >= 0),
    epochs     integer NOT NULL CHECK (epochs >= 0),
    object_key text NOT NULL UNIQUE,
    bytes      bigint NOT NULL CHECK (bytes >= 0),
    sha256     bytea NOT NULL CHECK (octet_length(sha256) = 32),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (job_id, number)
);
COMMENT ON TABLE  trawl_store.checkpoints IS 'The last two checkpoints of each unfinished job, and of each job whose folds go on in others. The older one serves if the newer one is broken.';
COMMENT ON COLUMN trawl_store.checkpoints.job_id IS 'Its job.';
COMMENT ON COLUMN trawl_store.checkpoints.number IS 'Number within the job, ascending.';
COMMENT ON COLUMN trawl_store.checkpoints.epochs IS 'Number of epochs completed. All of them are reported.';
COMMENT ON COLUMN trawl_store.checkpoints.object_key IS 'Key of its object in the object store.';
COMMENT ON COLUMN trawl_store.checkpoints.bytes IS 'Its size.';
COMMENT ON COLUMN trawl_store.checkpoints.sha256 IS 'SHA-256 of the bytes.';
COMMENT ON COLUMN trawl_store.checkpoints.created_at IS 'When it became durable.';


CREATE TABLE trawl_store.artifacts (
    object_key text PRIMARY KEY,
    study_id   uuid NOT NULL REFERENCES trawl_store.studies,
    refit      integer,
    trial      integer,
    name       text NOT NULL,
    kind       text NOT NULL CHECK (kind IN ('weights', 'network', 'model', 'calibration', 'predictions', 'weight_histograms', 'activation_profiles',
                                             'activations', 'confusion_matrix', 'feature_maps', 'misclassified')),
    job_id     uuid NOT NULL REFERENCES trawl_store.jobs,
    bytes      bigint NOT NULL CHECK (bytes >= 0),
    sha256     bytea NOT NULL CHECK (octet_length(sha256) = 32),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT artifacts_of_trial_or_refit CHECK ((trial IS NULL) <> (refit IS NULL)),
    FOREIGN KEY (study_id, refit) REFERENCES trawl_store.refits,
    FOREIGN KEY (study_id, trial) REFERENCES trawl_store.trials
);
CREATE UNIQUE INDEX artifacts_of_trial ON trawl_store.artifacts (study_id, trial, name);
CREATE UNIQUE INDEX artifacts_of_refit ON trawl_store.artifacts (study_id, refit, name) WHERE refit IS NOT NULL;
-- The list of a study's artifacts, page by page: first refits', then trials'.
CREATE INDEX artifacts_listed ON trawl_store.artifacts (study_id, (trial IS NOT NULL), COALESCE(trial, refit), name);
CREATE INDEX artifacts_of_job ON trawl_store.artifacts (job_id);
COMMENT ON TABLE  trawl_store.artifacts IS 'Files that trials and refits leave. A refit''s become visible when their job has completed, a trial''s when the trial has.';
COMMENT ON COLUMN trawl_store.artifacts.object_key IS 'Key of its object in the object store.';
COMMENT ON COLUMN trawl_store.artifacts.study_id IS 'Its study.';
COMMENT ON COLUMN trawl_store.artifacts.refit IS 'Its refit; null for a trial''s.';
COMMENT ON COLUMN trawl_store.artifacts.trial IS 'Its trial; null for a refit''s.';
COMMENT ON COLUMN trawl_store.artifacts.name IS 'File name.';
COMMENT ON COLUMN trawl_store.artifacts.kind IS 'Its kind.';
COMMENT ON COLUMN trawl_store.artifacts.job_id IS 'The job that left it.';
COMMENT ON COLUMN trawl_store.artifacts.bytes IS 'Its size.';
COMMENT ON COLUMN trawl_store.artifacts.sha256 IS 'SHA-256 of the bytes.';
COMMENT ON COLUMN trawl_store.artifacts.created_at IS 'When it became durable.';


CREATE TABLE trawl_store.pending_objects (
    object_key  text PRIMARY KEY,
    due_at      timestamptz NOT NULL,
    coordinator integer,
    upload_id   uuid
);
CREATE INDEX pending_objects_due ON trawl_store.pending_objects (due_at);
COMMENT ON TABLE  trawl_store.pending_objects IS 'Objects that no other table lists: uploads under way, and objects to be removed from the object store.';
COMMENT ON COLUMN trawl_store.pending_objects.object_key IS 'Key of its object in the object store, where the object may exist.';
COMMENT ON COLUMN trawl_store.pending_objects.due_at IS 'When it is removed. An upload has to be listed before that.';
COMMENT ON COLUMN trawl_store.pending_objects.coordinator IS 'The advisory lock that the uploading coordinator holds as long as it lives (coordinator/src/store/coordinators.rs); null without an upload.';
COMMENT ON COLUMN trawl_store.pending_objects.upload_id IS 'The last upload that noted a dataset file, of which there may be several at once; null for other objects.';


CREATE TABLE trawl_store.tokens (
    token_id   uuid PRIMARY KEY,
    name       text NOT NULL CHECK (name ~ '^[a-z0-9-]{1,63}$'),
    role       text NOT NULL CHECK (role IN ('admin', 'user', 'worker', 'reader')),
    sha256     bytea NOT NULL CHECK (octet_length(sha256) = 32),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz,
    revoked_at timestamptz,
    CONSTRAINT tokens_unique_hash UNIQUE (sha256)
);
CREATE UNIQUE INDEX tokens_unique_name ON trawl_store.tokens (name) WHERE revoked_at IS NULL;
CREATE INDEX tokens_newest ON trawl_store.tokens (created_at DESC, token_id DESC);
COMMENT ON TABLE  trawl_store.tokens IS 'Access tokens, also ended ones for 90 days: a record of access. Once there is a row, every call needs a token; so the newest row is never removed.';
COMMENT ON COLUMN trawl_store.tokens.token_id IS 'Identifies the token.';
COMMENT ON COLUMN trawl_store.tokens.name IS 'Its name. A revoked token frees its name.';
COMMENT ON COLUMN trawl_store.tokens.role IS 'Its role.';
COMMENT ON COLUMN trawl_store.tokens.sha256 IS 'SHA-256 of the token, whose text is not stored.';
COMMENT ON COLUMN trawl_store.tokens.created_at IS 'When it was made.';
COMMENT ON COLUMN trawl_store.tokens.expires_at IS 'When it expires; null: never.';
COMMENT ON COLUMN trawl_store.tokens.revoked_at IS 'When it was revoked.';


-- A row instead of an advisory lock, which every user of the database may take and keep.
CREATE TABLE trawl_store.quota_lock (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row)
);
COMMENT ON TABLE  trawl_store.quota_lock IS 'One row. A transaction that counts studies against the quotas locks it until its end.';
COMMENT ON COLUMN trawl_store.quota_lock.only_row IS 'Always true, so that there is only one row.';
INSERT INTO trawl_store.quota_lock DEFAULT VALUES;
