-- +goose Up

-- Channels by which people are told what happened.
CREATE TABLE channels (
    id   TEXT COLLATE "C" PRIMARY KEY,
    body TEXT NOT NULL
);

-- What channels prove themselves with, sealed with a key that is not in the database. None of it is in the ledger.
CREATE TABLE channel_secrets (
    channel TEXT COLLATE "C" PRIMARY KEY REFERENCES channels (id) ON DELETE CASCADE,
    sealed  TEXT NOT NULL
);

-- What waits to be sent, in the order of seq, and what became of it.
CREATE TABLE outbox (
    seq     BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id      TEXT COLLATE "C" NOT NULL UNIQUE, -- receivers tell repetitions by it
    channel TEXT COLLATE "C" NOT NULL REFERENCES channels (id) ON DELETE CASCADE,
    state   TEXT COLLATE "C" NOT NULL, -- waiting, sent, gave_up, failed
    at      BIGINT NOT NULL, -- of the last change of its state; microseconds since 1970
    body    TEXT NOT NULL
);
CREATE INDEX outbox_channel ON outbox (channel, state, seq);
CREATE INDEX outbox_done ON outbox (at) WHERE state <> 'waiting';

-- What a channel was told of, so that it is told once.
CREATE TABLE told (
    channel TEXT COLLATE "C" NOT NULL REFERENCES channels (id) ON DELETE CASCADE,
    subject TEXT COLLATE "C" NOT NULL,
    body    TEXT NOT NULL,
    PRIMARY KEY (channel, subject)
);

-- How far the ledger was read for what is told of.
CREATE TABLE told_ledger (
    one BIGINT PRIMARY KEY CHECK (one = 1),
    seq BIGINT NOT NULL
);

-- Who of several servers does something now.
CREATE TABLE leases (
    name   TEXT COLLATE "C" PRIMARY KEY,
    holder TEXT COLLATE "C" NOT NULL,
    until  BIGINT NOT NULL -- microseconds since 1970
);
