-- +goose Up

-- Update installation tasks as people wrote them. The default one is here once somebody changed it.
CREATE TABLE tasks (
    id   TEXT PRIMARY KEY,
    body TEXT NOT NULL
) STRICT;

-- How far an update is rolled out through the rings of a task: package rollout's own encoding.
CREATE TABLE rollouts (
    task_id   TEXT NOT NULL,
    update_id TEXT NOT NULL,
    state     TEXT NOT NULL,
    PRIMARY KEY (task_id, update_id)
) STRICT;
