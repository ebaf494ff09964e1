-- +goose Up

-- How often a row was written: who writes it anew says from which version on.
ALTER TABLE installs ADD COLUMN version INTEGER NOT NULL DEFAULT 1;
ALTER TABLE updates ADD COLUMN version INTEGER NOT NULL DEFAULT 1;
ALTER TABLE rollouts ADD COLUMN version INTEGER NOT NULL DEFAULT 1;

-- Each time that a lease changes hands its token grows; what its holder writes is refused once it has grown.
ALTER TABLE leases ADD COLUMN token INTEGER NOT NULL DEFAULT 0;

-- What all servers of the installation have in common and no act says.
CREATE TABLE installation (
    one  INTEGER PRIMARY KEY CHECK (one = 1),
    body TEXT NOT NULL
) STRICT;
