-- +goose Up

-- What each device found when it last rehearsed its plan.
CREATE TABLE rehearsals (
    device TEXT PRIMARY KEY,
    body   TEXT NOT NULL
) STRICT;
