-- +goose Up

-- What was so in each group on each day: figures, no decisions.
CREATE TABLE trend_samples (
    group_id TEXT COLLATE "C" NOT NULL,
    day      TEXT COLLATE "C" NOT NULL, -- UTC, 2026-11-23
    body     TEXT NOT NULL,
    PRIMARY KEY (group_id, day)
);
CREATE INDEX trend_samples_day ON trend_samples (day);

-- Saved views of lists: those that are shared are acts of the ledger, those of one person are not.
CREATE TABLE shared_views (
    id   TEXT COLLATE "C" PRIMARY KEY,
    body TEXT NOT NULL
);

CREATE TABLE personal_views (
    owner TEXT COLLATE "C" NOT NULL REFERENCES operators (name) ON DELETE CASCADE,
    id    TEXT COLLATE "C" NOT NULL,
    body  TEXT NOT NULL,
    PRIMARY KEY (owner, id)
);
