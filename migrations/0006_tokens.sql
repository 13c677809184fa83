-- Tokens: who may call, as what. Only their hashes are kept.
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
CREATE INDEX tokens_by_age ON trawl_store.tokens (created_at, token_id);
COMMENT ON TABLE  trawl_store.tokens IS 'Tokens that were made, those that have ended among them: a record of who had access. Once there is a row, no call is answered without a token.';
COMMENT ON COLUMN trawl_store.tokens.token_id IS 'Its id.';
COMMENT ON COLUMN trawl_store.tokens.name IS 'How people call it; free for another token once this one was revoked.';
COMMENT ON COLUMN trawl_store.tokens.role IS 'What it is for.';
COMMENT ON COLUMN trawl_store.tokens.sha256 IS 'SHA-256 of the token, whose text is kept nowhere.';
COMMENT ON COLUMN trawl_store.tokens.created_at IS 'When it was made.';
COMMENT ON COLUMN trawl_store.tokens.expires_at IS 'When it ends by itself; never, where it is null.';
COMMENT ON COLUMN trawl_store.tokens.revoked_at IS 'When somebody ended it.';
COMMENT ON INDEX  trawl_store.tokens_pkey IS 'A token by its id.';
COMMENT ON INDEX  trawl_store.tokens_unique_hash IS 'No two tokens have one text.';
COMMENT ON INDEX  trawl_store.tokens_unique_name IS 'A name tells one token that was not revoked.';
COMMENT ON INDEX  trawl_store.tokens_by_age IS 'The list of tokens, page by page.';
