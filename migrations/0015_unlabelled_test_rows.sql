-- Test rows need no targets, and a refit needs no test rows.
ALTER TABLE trawl_store.studies ADD COLUMN test_is_labelled boolean NOT NULL DEFAULT true;
COMMENT ON COLUMN trawl_store.studies.test_is_labelled IS 'False where the test rows have no targets: they are predicted, and measure nothing.';

ALTER TABLE trawl_store.refits
    DROP CONSTRAINT refits_measured_when_completed,
    ADD CONSTRAINT refits_measured_when_completed CHECK (test_loss IS NULL OR state = 'completed');
COMMENT ON COLUMN trawl_store.refits.test_loss IS 'Loss on the test rows after training on all training rows; null where no test row has a target.';
