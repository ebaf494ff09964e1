-- +goose Up

-- What was so in each group on each day: figures, no decisions.
CREATE TABLE trend_samples (
    group_id TEXT NOT NULL,
    day      TEXT NOT NULL, -- UTC, 2026-11-23
    body     TEXT NOT NULL,
    PRIMARY KEY (group_id, day)
) STRICT;
CREATE INDEX trend_samples_day ON trend_samples (day);

-- Saved views of lists: those that are shared are acts of the ledger, those of one person are not.
CREATE TABLE shared_views (
    id   TEXT PRIMARY KEY,
    body TEXT NOT NULL
) STRICT;

CREATE TABLE personal_views (
    owner TEXT NOT NULL REFERENCES operators (name) ON DELETE CASCADE,
    id    TEXT NOT NULL,
    body  TEXT NOT NULL,
    PRIMARY KEY (owner, id)
) STRICT;
