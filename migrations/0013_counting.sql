-- A submission counts studies with this row locked. A row and no advisory lock: those every user of the database can take and keep.
CREATE TABLE trawl_store.counting (
    the_one boolean PRIMARY KEY DEFAULT true CHECK (the_one)
);
COMMENT ON TABLE trawl_store.counting IS 'One row, locked by whoever counts studies against the quotas, until its transaction ends.';
COMMENT ON COLUMN trawl_store.counting.the_one IS 'True: there is no second row.';
INSERT INTO trawl_store.counting DEFAULT VALUES;
