-- +goose Up

-- What is decided about feeds and what they publish.
CREATE TABLE feeds (
    id   TEXT COLLATE "C" PRIMARY KEY,
    body TEXT NOT NULL
);

CREATE TABLE agreements (
    digest TEXT COLLATE "C" PRIMARY KEY,
    body   TEXT NOT NULL
);

CREATE TABLE deploys (
    act  BIGINT PRIMARY KEY,
    body TEXT NOT NULL
);

CREATE TABLE packages (
    id   TEXT COLLATE "C" PRIMARY KEY,
    body TEXT NOT NULL
);

CREATE TABLE contents (
    update_id TEXT COLLATE "C" PRIMARY KEY,
    body      TEXT NOT NULL
);
