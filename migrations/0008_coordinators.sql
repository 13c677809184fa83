-- Several coordinators on one database: each knows which uploads under way are its own, and which those of one that ended.
ALTER TABLE trawl_store.loose_objects ADD COLUMN coordinator integer;
COMMENT ON COLUMN trawl_store.loose_objects.coordinator IS 'Advisory lock that the uploading coordinator holds as long as it lives, under a class of its own (coordinator/src/store/coordinators.rs); null where nobody uploads.';
