-- Files leave Postgres for an object store, which tables only list.
--
-- No release has files in Postgres: the content of artifacts and datasets goes with this migration, and with it the artifacts.
-- Datasets stay listed, because studies name them, but without a size: they count as missing until they are registered again.
DROP TABLE trawl_store.artifacts;

CREATE TABLE trawl_store.artifacts (
    object_key text PRIMARY KEY,
    study_id   uuid NOT NULL REFERENCES trawl_store.studies,
    refit      integer,
    trial      integer,
    name       text NOT NULL,
    kind       text NOT NULL CHECK (kind IN ('weights', 'network', 'predictions', 'weight_histograms', 'activation_profiles',
                                             'activations', 'confusion_matrix', 'feature_maps', 'misclassified')),
    job_id     uuid NOT NULL REFERENCES trawl_store.jobs,
    bytes      bigint NOT NULL CHECK (bytes >= 0),
    sha256     bytea NOT NULL CHECK (octet_length(sha256) = 32),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT artifacts_of_trial_or_refit CHECK ((trial IS NULL) <> (refit IS NULL)),
    FOREIGN KEY (study_id, refit) REFERENCES trawl_store.refits,
    FOREIGN KEY (study_id, trial) REFERENCES trawl_store.trials
);
CREATE UNIQUE INDEX artifacts_of_refit ON trawl_store.artifacts (study_id, refit, name) WHERE refit IS NOT NULL;
CREATE UNIQUE INDEX artifacts_of_trial ON trawl_store.artifacts (study_id, trial, name) WHERE trial IS NOT NULL;
CREATE INDEX artifacts_of_job ON trawl_store.artifacts (job_id);
COMMENT ON TABLE  trawl_store.artifacts IS 'Files that trials and refits leave. Visible once their job completed, and a trial''s once that completed.';
COMMENT ON COLUMN trawl_store.artifacts.object_key IS 'Where the object store has its bytes.';
COMMENT ON COLUMN trawl_store.artifacts.study_id IS 'Its study.';
COMMENT ON COLUMN trawl_store.artifacts.refit IS 'Its refit; null for a trial''s.';
COMMENT ON COLUMN trawl_store.artifacts.trial IS 'Its trial; null for a refit''s.';
COMMENT ON COLUMN trawl_store.artifacts.name IS 'File name.';
COMMENT ON COLUMN trawl_store.artifacts.kind IS 'What it is.';
COMMENT ON COLUMN trawl_store.artifacts.job_id IS 'The job that left it.';
COMMENT ON COLUMN trawl_store.artifacts.bytes IS 'Its size.';
COMMENT ON COLUMN trawl_store.artifacts.sha256 IS 'SHA-256 of the bytes.';
COMMENT ON COLUMN trawl_store.artifacts.created_at IS 'When it became durable.';

CREATE TABLE trawl_store.loose_objects (
    object_key text PRIMARY KEY,
    due_at     timestamptz NOT NULL
);
CREATE INDEX loose_objects_due ON trawl_store.loose_objects (due_at);
COMMENT ON TABLE  trawl_store.loose_objects IS 'Objects that no table lists: uploads under way, and what is to be removed from the object store.';
COMMENT ON COLUMN trawl_store.loose_objects.object_key IS 'Where the object store has, or may have, its bytes.';
COMMENT ON COLUMN trawl_store.loose_objects.due_at IS 'When it is removed: an upload has until then to be listed.';

ALTER TABLE trawl_store.dataset_files
    DROP COLUMN content,
    ADD COLUMN bytes bigint CHECK (bytes >= 0);
COMMENT ON TABLE  trawl_store.dataset_files IS 'Files of datasets as they were when they were registered: workers read these, never a path. The object store has their bytes as datasets/SHA256.';
COMMENT ON COLUMN trawl_store.dataset_files.sha256 IS 'SHA-256 of the bytes: its name.';
COMMENT ON COLUMN trawl_store.dataset_files.bytes IS 'Its size; null if its bytes are not there.';
COMMENT ON COLUMN trawl_store.dataset_files.created_at IS 'When it was last registered.';

CREATE VIEW trawl.artifacts AS
SELECT s.name AS study, a.study_id, a.refit, a.trial, a.kind, a.name, a.bytes, encode(a.sha256, 'hex') AS sha256,
       a.created_at
FROM trawl_store.artifacts a
JOIN trawl_store.studies s USING (study_id)
JOIN trawl_store.jobs j USING (job_id)
LEFT JOIN trawl_store.trials t ON t.study_id = a.study_id AND t.trial = a.trial
WHERE j.state = 'completed' AND (a.trial IS NULL OR t.state = 'completed') AND s.deleted_at IS NULL;
COMMENT ON VIEW trawl.artifacts IS 'One row a file that a refit, or one of the best trials, left; either refit or trial is null.';
GRANT SELECT ON trawl.artifacts TO trawl_reader;
