-- +goose Up

-- Channels by which people are told what happened.
CREATE TABLE channels (
    id   TEXT PRIMARY KEY,
    body TEXT NOT NULL
) STRICT;

-- What channels prove themselves with, sealed with a key that is not in the database. None of it is in the ledger.
CREATE TABLE channel_secrets (
    channel TEXT PRIMARY KEY REFERENCES channels (id) ON DELETE CASCADE,
    sealed  TEXT NOT NULL
) STRICT;

-- What waits to be sent, in the order of seq, and what became of it.
CREATE TABLE outbox (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    id      TEXT NOT NULL UNIQUE, -- receivers tell repetitions by it
    channel TEXT NOT NULL REFERENCES channels (id) ON DELETE CASCADE,
    state   TEXT NOT NULL, -- waiting, sent, gave_up, failed
    at      INTEGER NOT NULL, -- of the last change of its state; microseconds since 1970
    body    TEXT NOT NULL
) STRICT;
CREATE INDEX outbox_channel ON outbox (channel, state, seq);
CREATE INDEX outbox_done ON outbox (at) WHERE state <> 'waiting';

-- What a channel was told of, so that it is told once.
CREATE TABLE told (
    channel TEXT NOT NULL REFERENCES channels (id) ON DELETE CASCADE,
    subject TEXT NOT NULL,
    body    TEXT NOT NULL,
    PRIMARY KEY (channel, subject)
) STRICT;

-- How far the ledger was read for what is told of.
CREATE TABLE told_ledger (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    seq INTEGER NOT NULL
) STRICT;

-- Who of several servers does something now.
CREATE TABLE leases (
    name   TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    until  INTEGER NOT NULL -- microseconds since 1970
) STRICT;
