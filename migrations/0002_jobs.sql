CREATE TABLE trawl_store.workers (
    worker_id     uuid PRIMARY KEY,
    host          text NOT NULL,
    device        text NOT NULL,
    slots         integer NOT NULL CHECK (slots > 0),
    version       text NOT NULL,
    lost_after    interval NOT NULL,
    registered_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_seen_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    stopped_at    timestamptz
) WITH (fillfactor = 60);
COMMENT ON TABLE  trawl_store.workers IS 'Worker processes that registered.';
COMMENT ON COLUMN trawl_store.workers.worker_id IS 'Chosen by the process at its start.';
COMMENT ON COLUMN trawl_store.workers.host IS 'Host name.';
COMMENT ON COLUMN trawl_store.workers.device IS 'cpu or cuda:N.';
COMMENT ON COLUMN trawl_store.workers.slots IS 'Jobs it can train at once.';
COMMENT ON COLUMN trawl_store.workers.version IS 'Version of the worker.';
COMMENT ON COLUMN trawl_store.workers.lost_after IS 'Silence after which it counts as lost.';
COMMENT ON COLUMN trawl_store.workers.registered_at IS 'When it registered.';
COMMENT ON COLUMN trawl_store.workers.last_seen_at IS 'When its last heartbeat came.';
COMMENT ON COLUMN trawl_store.workers.stopped_at IS 'When it said goodbye.';

CREATE TABLE trawl_store.jobs (
    job_id      uuid PRIMARY KEY,
    study_id    uuid NOT NULL REFERENCES trawl_store.studies,
    refit       integer,
    split       text NOT NULL CHECK (split IN ('validation', 'all')),
    position    bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    members     integer NOT NULL CHECK (members > 0),
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
CREATE INDEX jobs_of_study ON trawl_store.jobs (study_id);
COMMENT ON TABLE  trawl_store.jobs IS 'What workers lease: folds that train together.';
COMMENT ON COLUMN trawl_store.jobs.job_id IS 'Names the job.';
COMMENT ON COLUMN trawl_store.jobs.study_id IS 'Its study.';
COMMENT ON COLUMN trawl_store.jobs.refit IS 'The refit that it is part of; null for folds of trials.';
COMMENT ON COLUMN trawl_store.jobs.split IS 'validation: as the study validates. all: all rows train, and the test rows are looked at.';
COMMENT ON COLUMN trawl_store.jobs.position IS 'Place in the queue.';
COMMENT ON COLUMN trawl_store.jobs.members IS 'Folds that it trains.';
COMMENT ON COLUMN trawl_store.jobs.state IS 'See ARCHITECTURE.md for how states follow each other.';
COMMENT ON COLUMN trawl_store.jobs.attempts IS 'Leases that count towards its retry limit.';
COMMENT ON COLUMN trawl_store.jobs.lease_epoch IS 'Leases granted so far; each grant counts it up.';
COMMENT ON COLUMN trawl_store.jobs.last_error IS 'Why the last lease did not end it.';
COMMENT ON COLUMN trawl_store.jobs.created_at IS 'When it was planned.';
COMMENT ON COLUMN trawl_store.jobs.finished_at IS 'When it ended.';

CREATE TABLE trawl_store.folds (
    fold_id       bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    study_id      uuid NOT NULL REFERENCES trawl_store.studies,
    trial         integer,
    refit         integer,
    fold          integer NOT NULL CHECK (fold >= 0),
    job_id        uuid NOT NULL REFERENCES trawl_store.jobs,
    member        integer NOT NULL CHECK (member >= 0),
    state         text NOT NULL DEFAULT 'queued'
        CHECK (state IN ('queued', 'running', 'completed', 'pruned', 'failed', 'cancelled')),
    epochs        integer NOT NULL DEFAULT 0,
    train_loss    double precision,
    val_loss      double precision,
    best_epoch    integer,
    best_val_loss double precision,
    error         text,
    CONSTRAINT folds_of_trial_or_refit CHECK ((trial IS NULL) <> (refit IS NULL)),
    CONSTRAINT folds_error_when_failed CHECK ((state = 'failed') = (error IS NOT NULL)),
    FOREIGN KEY (study_id, trial) REFERENCES trawl_store.trials,
    FOREIGN KEY (study_id, refit) REFERENCES trawl_store.refits
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX folds_of_trial ON trawl_store.folds (study_id, trial, fold) WHERE trial IS NOT NULL;
CREATE UNIQUE INDEX folds_of_refit ON trawl_store.folds (study_id, refit, fold) WHERE refit IS NOT NULL;
CREATE UNIQUE INDEX folds_of_job ON trawl_store.folds (job_id, member);
COMMENT ON TABLE  trawl_store.folds IS 'One train/validation split of a trial or a refit each.';
COMMENT ON COLUMN trawl_store.folds.fold_id IS 'Short name for epoch reports.';
COMMENT ON COLUMN trawl_store.folds.study_id IS 'Its study.';
COMMENT ON COLUMN trawl_store.folds.trial IS 'The trial that it is part of, or null.';
COMMENT ON COLUMN trawl_store.folds.refit IS 'The refit that it is part of, or null.';
COMMENT ON COLUMN trawl_store.folds.fold IS 'Number, from 0; a refit''s fit on all training rows comes after its folds.';
COMMENT ON COLUMN trawl_store.folds.job_id IS 'The job that trains it.';
COMMENT ON COLUMN trawl_store.folds.member IS 'Its place among the job''s members.';
COMMENT ON COLUMN trawl_store.folds.state IS 'See ARCHITECTURE.md for how states follow each other.';
COMMENT ON COLUMN trawl_store.folds.epochs IS 'Epochs reported when it ended.';
COMMENT ON COLUMN trawl_store.folds.train_loss IS 'Mean training loss of the last epoch.';
COMMENT ON COLUMN trawl_store.folds.val_loss IS 'Validation loss after the last epoch.';
COMMENT ON COLUMN trawl_store.folds.best_epoch IS 'Epoch with the lowest validation loss.';
COMMENT ON COLUMN trawl_store.folds.best_val_loss IS 'Validation loss of that epoch.';
COMMENT ON COLUMN trawl_store.folds.error IS 'Why it failed; diverged for a loss that is not finite.';

-- No foreign key to folds: rows come in only through a join with folds, and a check per row would halve the rate.
CREATE TABLE trawl_store.epoch_reports (
    fold_id     bigint NOT NULL,
    epoch       integer NOT NULL CHECK (epoch >= 0),
    train_loss  double precision NOT NULL CHECK (train_loss > '-Infinity' AND train_loss < 'Infinity'),
    val_loss    double precision CHECK (val_loss > '-Infinity' AND val_loss < 'Infinity'),
    reported_at timestamptz NOT NULL,
    PRIMARY KEY (fold_id, epoch)
);
COMMENT ON TABLE  trawl_store.epoch_reports IS 'The losses of one fold after one epoch each.';
COMMENT ON COLUMN trawl_store.epoch_reports.fold_id IS 'The fold.';
COMMENT ON COLUMN trawl_store.epoch_reports.epoch IS 'Epoch, from 0.';
COMMENT ON COLUMN trawl_store.epoch_reports.train_loss IS 'Mean over the epoch''s batches, each weighted by its rows, taken while training.';
COMMENT ON COLUMN trawl_store.epoch_reports.val_loss IS 'Loss on the validation rows after the epoch; null where there are none.';
COMMENT ON COLUMN trawl_store.epoch_reports.reported_at IS 'When it became durable.';

-- Narrow and half empty, and no index on expires_at: every renewal is a HOT update.
CREATE TABLE trawl_store.leases (
    job_id     uuid PRIMARY KEY REFERENCES trawl_store.jobs,
    token      uuid NOT NULL,
    worker_id  uuid NOT NULL REFERENCES trawl_store.workers,
    expires_at timestamptz NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE  trawl_store.leases IS 'The live leases: at most one a job.';
COMMENT ON COLUMN trawl_store.leases.job_id IS 'The job that is leased.';
COMMENT ON COLUMN trawl_store.leases.token IS 'What every write under the lease repeats.';
COMMENT ON COLUMN trawl_store.leases.worker_id IS 'Who holds it.';
COMMENT ON COLUMN trawl_store.leases.expires_at IS 'When it ends unless it is renewed.';

CREATE TABLE trawl_store.job_attempts (
    job_id      uuid NOT NULL REFERENCES trawl_store.jobs,
    lease_epoch integer NOT NULL,
    token       uuid NOT NULL UNIQUE,
    worker_id   uuid NOT NULL REFERENCES trawl_store.workers,
    granted_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at    timestamptz,
    outcome     text CHECK (outcome IN ('finished', 'drained', 'failed', 'expired', 'cancelled')),
    error       text,
    PRIMARY KEY (job_id, lease_epoch),
    CONSTRAINT job_attempts_outcome_when_ended CHECK ((ended_at IS NULL) = (outcome IS NULL))
);
COMMENT ON TABLE  trawl_store.job_attempts IS 'Every lease that was ever granted, with how it ended.';
COMMENT ON COLUMN trawl_store.job_attempts.job_id IS 'The job.';
COMMENT ON COLUMN trawl_store.job_attempts.lease_epoch IS 'Which grant of the job.';
COMMENT ON COLUMN trawl_store.job_attempts.token IS 'Token of the lease: a repeated finish or release is known by it.';
COMMENT ON COLUMN trawl_store.job_attempts.worker_id IS 'Who held it.';
COMMENT ON COLUMN trawl_store.job_attempts.granted_at IS 'When it was granted.';
COMMENT ON COLUMN trawl_store.job_attempts.ended_at IS 'When it ended.';
COMMENT ON COLUMN trawl_store.job_attempts.outcome IS 'How it ended.';
COMMENT ON COLUMN trawl_store.job_attempts.error IS 'Why it failed or expired.';

CREATE TABLE trawl_store.artifacts (
    study_id   uuid NOT NULL,
    refit      integer NOT NULL,
    name       text NOT NULL,
    kind       text NOT NULL CHECK (kind IN ('weights')),
    job_id     uuid NOT NULL REFERENCES trawl_store.jobs,
    sha256     bytea NOT NULL CHECK (octet_length(sha256) = 32),
    content    bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (study_id, refit, name),
    FOREIGN KEY (study_id, refit) REFERENCES trawl_store.refits
);
-- Weights are noise to a compressor.
ALTER TABLE trawl_store.artifacts ALTER COLUMN content SET STORAGE EXTERNAL;
COMMENT ON TABLE  trawl_store.artifacts IS 'Files that refits leave. Visible once their job completed.';
COMMENT ON COLUMN trawl_store.artifacts.study_id IS 'Its study.';
COMMENT ON COLUMN trawl_store.artifacts.refit IS 'Its refit.';
COMMENT ON COLUMN trawl_store.artifacts.name IS 'File name.';
COMMENT ON COLUMN trawl_store.artifacts.kind IS 'What it is.';
COMMENT ON COLUMN trawl_store.artifacts.job_id IS 'The job that left it.';
COMMENT ON COLUMN trawl_store.artifacts.sha256 IS 'SHA-256 of the content.';
COMMENT ON COLUMN trawl_store.artifacts.content IS 'The file''s bytes.';
COMMENT ON COLUMN trawl_store.artifacts.created_at IS 'When it became durable.';
