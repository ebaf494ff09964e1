-- +goose Up

-- The ledger. Entries and hashes are written once.
CREATE TABLE ledger_head (
    one BIGINT PRIMARY KEY CHECK (one = 1),
    seq BIGINT NOT NULL
);
INSERT INTO ledger_head (one, seq) VALUES (1, 0);

CREATE TABLE ledger_entries (
    seq  BIGINT PRIMARY KEY,
    data BYTEA NOT NULL
);
ALTER TABLE ledger_entries ALTER COLUMN data SET STORAGE EXTERNAL; -- compressing a bulk act takes longer than writing it

CREATE TABLE ledger_hashes (
    id   BIGINT PRIMARY KEY,
    hash BYTEA NOT NULL
);

-- +goose StatementBegin
CREATE FUNCTION ledger_written_once() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION '% is written once', TG_TABLE_NAME; END;
$$;
-- +goose StatementEnd
CREATE TRIGGER ledger_entries_once BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_entries
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_written_once();
CREATE TRIGGER ledger_hashes_once BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_hashes
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_written_once();

-- What the ledger amounts to: a view that is written with each entry.
CREATE TABLE server (
    one  BIGINT PRIMARY KEY CHECK (one = 1),
    body TEXT NOT NULL
);

CREATE TABLE device_groups (
    id   TEXT COLLATE "C" PRIMARY KEY,
    body TEXT NOT NULL
);

CREATE TABLE devices (
    id       TEXT COLLATE "C" PRIMARY KEY,
    group_id TEXT COLLATE "C" NOT NULL REFERENCES device_groups (id),
    body     TEXT NOT NULL
);
CREATE INDEX devices_group ON devices (group_id);

CREATE TABLE decisions (
    update_id TEXT COLLATE "C" NOT NULL,
    scope     TEXT COLLATE "C" NOT NULL REFERENCES device_groups (id),
    body      TEXT NOT NULL,
    PRIMARY KEY (update_id, scope)
);

CREATE TABLE exceptions (
    act  BIGINT PRIMARY KEY,
    body TEXT NOT NULL
);

CREATE TABLE rollbacks (
    act  BIGINT PRIMARY KEY,
    body TEXT NOT NULL
);

CREATE TABLE tokens (
    id   TEXT COLLATE "C" PRIMARY KEY,
    body TEXT NOT NULL
);

CREATE TABLE operators (
    name TEXT COLLATE "C" PRIMARY KEY,
    body TEXT NOT NULL
);

CREATE TABLE accesses (
    id       TEXT COLLATE "C" PRIMARY KEY,
    operator TEXT COLLATE "C" NOT NULL REFERENCES operators (name) ON DELETE CASCADE,
    body     TEXT NOT NULL
);
CREATE INDEX accesses_operator ON accesses (operator);

-- Facts, which come from devices.
CREATE TABLE documents (
    kind      TEXT COLLATE "C" NOT NULL,
    digest    TEXT COLLATE "C" NOT NULL,
    stored_at BIGINT NOT NULL, -- microseconds since 1970
    body      BYTEA NOT NULL,    -- zstd
    PRIMARY KEY (kind, digest)
);
ALTER TABLE documents ALTER COLUMN body SET STORAGE EXTERNAL;

CREATE TABLE updates (
    id   TEXT COLLATE "C" PRIMARY KEY,
    body TEXT NOT NULL
);

CREATE TABLE catalog_version (
    one     BIGINT PRIMARY KEY CHECK (one = 1),
    version BIGINT NOT NULL
);
INSERT INTO catalog_version (one, version) VALUES (1, 0);

CREATE TABLE contacts (
    device TEXT COLLATE "C" PRIMARY KEY,
    body   TEXT NOT NULL
);

CREATE TABLE installs (
    device    TEXT COLLATE "C" NOT NULL,
    update_id TEXT COLLATE "C" NOT NULL,
    body      TEXT NOT NULL,
    PRIMARY KEY (device, update_id)
);

CREATE TABLE reports (
    id        BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    device    TEXT COLLATE "C" NOT NULL,
    report    TEXT COLLATE "C" NOT NULL,
    at        BIGINT NOT NULL, -- microseconds since 1970
    update_id TEXT COLLATE "C" NOT NULL,
    event     TEXT COLLATE "C" NOT NULL,
    body      TEXT NOT NULL,
    UNIQUE (device, report)
);
CREATE INDEX reports_events ON reports (at, id) WHERE event <> '';
CREATE INDEX reports_device_events ON reports (device, at, id) WHERE event <> '';
