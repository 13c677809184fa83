-- Checkpoints: where the training of a job was, so that whoever trains it next goes on from there.
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
COMMENT ON TABLE  trawl_store.checkpoints IS 'The last two checkpoints of each job that has not ended: the older one is for the case that the newer one is broken.';
COMMENT ON COLUMN trawl_store.checkpoints.job_id IS 'Its job.';
COMMENT ON COLUMN trawl_store.checkpoints.number IS 'Counts up within the job.';
COMMENT ON COLUMN trawl_store.checkpoints.epochs IS 'Epochs that were over; all of them are reported.';
COMMENT ON COLUMN trawl_store.checkpoints.object_key IS 'Where the object store has its bytes.';
COMMENT ON COLUMN trawl_store.checkpoints.bytes IS 'Its size.';
COMMENT ON COLUMN trawl_store.checkpoints.sha256 IS 'SHA-256 of the bytes.';
COMMENT ON COLUMN trawl_store.checkpoints.created_at IS 'When it became durable.';
