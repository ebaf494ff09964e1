-- +goose Up

-- What is decided about feeds and what they publish.
CREATE TABLE feeds (
    id   TEXT PRIMARY KEY,
    body TEXT NOT NULL
) STRICT;

CREATE TABLE agreements (
    digest TEXT PRIMARY KEY,
    body   TEXT NOT NULL
) STRICT;

CREATE TABLE deploys (
    act  INTEGER PRIMARY KEY,
    body TEXT NOT NULL
) STRICT;

CREATE TABLE packages (
    id   TEXT PRIMARY KEY,
    body TEXT NOT NULL
) STRICT;

CREATE TABLE contents (
    update_id TEXT PRIMARY KEY,
    body      TEXT NOT NULL
) STRICT;
