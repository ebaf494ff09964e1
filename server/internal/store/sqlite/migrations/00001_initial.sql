-- +goose Up

-- The ledger. Entries and hashes are written once.
CREATE TABLE ledger_head (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    seq INTEGER NOT NULL
) STRICT;
INSERT INTO ledger_head (one, seq) VALUES (1, 0);

CREATE TABLE ledger_entries (
    seq  INTEGER PRIMARY KEY,
    data BLOB NOT NULL
) STRICT;

CREATE TABLE ledger_hashes (
    id   INTEGER PRIMARY KEY,
    hash BLOB NOT NULL
) STRICT;

-- +goose StatementBegin
CREATE TRIGGER ledger_entries_update BEFORE UPDATE ON ledger_entries
BEGIN SELECT RAISE(ABORT, 'ledger entries are written once'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER ledger_entries_delete BEFORE DELETE ON ledger_entries
BEGIN SELECT RAISE(ABORT, 'ledger entries are written once'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER ledger_hashes_update BEFORE UPDATE ON ledger_hashes
BEGIN SELECT RAISE(ABORT, 'ledger hashes are written once'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER ledger_hashes_delete BEFORE DELETE ON ledger_hashes
BEGIN SELECT RAISE(ABORT, 'ledger hashes are written once'); END;
-- +goose StatementEnd

-- What the ledger amounts to: a view that is written with each entry.
CREATE TABLE server (
    one  INTEGER PRIMARY KEY CHECK (one = 1),
    body TEXT NOT NULL
) STRICT;

CREATE TABLE device_groups (
    id   TEXT PRIMARY KEY,
    body TEXT NOT NULL
) STRICT;

CREATE TABLE devices (
    id       TEXT PRIMARY KEY,
    group_id TEXT NOT NULL REFERENCES device_groups (id),
    body     TEXT NOT NULL
) STRICT;
CREATE INDEX devices_group ON devices (group_id);

CREATE TABLE decisions (
    update_id TEXT NOT NULL,
    scope     TEXT NOT NULL REFERENCES device_groups (id),
    body      TEXT NOT NULL,
    PRIMARY KEY (update_id, scope)
) STRICT;

CREATE TABLE exceptions (
    act  INTEGER PRIMARY KEY,
    body TEXT NOT NULL
) STRICT;

CREATE TABLE rollbacks (
    act  INTEGER PRIMARY KEY,
    body TEXT NOT NULL
) STRICT;

CREATE TABLE tokens (
    id   TEXT PRIMARY KEY,
    body TEXT NOT NULL
) STRICT;

CREATE TABLE operators (
    name TEXT PRIMARY KEY,
    body TEXT NOT NULL
) STRICT;

CREATE TABLE accesses (
    id       TEXT PRIMARY KEY,
    operator TEXT NOT NULL REFERENCES operators (name) ON DELETE CASCADE,
    body     TEXT NOT NULL
) STRICT;
CREATE INDEX accesses_operator ON accesses (operator);

-- Facts, which come from devices.
CREATE TABLE documents (
    kind      TEXT NOT NULL,
    digest    TEXT NOT NULL,
    stored_at INTEGER NOT NULL, -- microseconds since 1970
    body      BLOB NOT NULL,    -- zstd
    PRIMARY KEY (kind, digest)
) STRICT;

CREATE TABLE updates (
    id   TEXT PRIMARY KEY,
    body TEXT NOT NULL
) STRICT;

CREATE TABLE catalog_version (
    one     INTEGER PRIMARY KEY CHECK (one = 1),
    version INTEGER NOT NULL
) STRICT;
INSERT INTO catalog_version (one, version) VALUES (1, 0);

CREATE TABLE contacts (
    device TEXT PRIMARY KEY,
    body   TEXT NOT NULL
) STRICT;

CREATE TABLE installs (
    device    TEXT NOT NULL,
    update_id TEXT NOT NULL,
    body      TEXT NOT NULL,
    PRIMARY KEY (device, update_id)
) STRICT;

CREATE TABLE reports (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    device    TEXT NOT NULL,
    report    TEXT NOT NULL,
    at        INTEGER NOT NULL, -- microseconds since 1970
    update_id TEXT NOT NULL,
    event     TEXT NOT NULL,
    body      TEXT NOT NULL,
    UNIQUE (device, report)
) STRICT;
CREATE INDEX reports_events ON reports (at, id) WHERE event <> '';
CREATE INDEX reports_device_events ON reports (device, at, id) WHERE event <> '';
