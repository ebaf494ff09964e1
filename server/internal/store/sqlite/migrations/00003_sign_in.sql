-- +goose Up

-- What people sign in with, and who is signed in. None of it is in the ledger, and no secret is in it: of passwords and
-- cookies there are hashes, of passkeys public keys.
CREATE TABLE passwords (
    operator TEXT PRIMARY KEY REFERENCES operators (name) ON DELETE CASCADE,
    body     TEXT NOT NULL
) STRICT;

CREATE TABLE passkeys (
    id         TEXT PRIMARY KEY,
    operator   TEXT NOT NULL REFERENCES operators (name) ON DELETE CASCADE,
    credential TEXT NOT NULL UNIQUE,
    name       TEXT NOT NULL,
    count      INTEGER NOT NULL, -- of its signatures, as it last said
    used       INTEGER NOT NULL, -- microseconds since 1970; 0: never
    body       TEXT NOT NULL
) STRICT;
CREATE INDEX passkeys_operator ON passkeys (operator);

CREATE TABLE sessions (
    key       TEXT PRIMARY KEY, -- SHA-256 of the cookie's value
    id        TEXT NOT NULL,
    operator  TEXT NOT NULL REFERENCES operators (name) ON DELETE CASCADE,
    access    TEXT REFERENCES accesses (id) ON DELETE CASCADE, -- the access token behind it, if it was one
    seen      INTEGER NOT NULL, -- microseconds since 1970, as are those below
    confirmed INTEGER NOT NULL,
    until     INTEGER NOT NULL,
    scope     TEXT NOT NULL,
    body      TEXT NOT NULL
) STRICT;
CREATE INDEX sessions_operator ON sessions (operator, seen);
CREATE INDEX sessions_access ON sessions (access);

-- Challenges of passkeys that wait for their answer. Each is taken once.
CREATE TABLE ceremonies (
    id    TEXT PRIMARY KEY,
    until INTEGER NOT NULL, -- microseconds since 1970
    body  TEXT NOT NULL
) STRICT;
CREATE INDEX ceremonies_until ON ceremonies (until);
