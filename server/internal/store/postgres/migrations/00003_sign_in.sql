-- +goose Up

-- What people sign in with, and who is signed in. None of it is in the ledger, and no secret is in it: of passwords and
-- cookies there are hashes, of passkeys public keys.
CREATE TABLE passwords (
    operator TEXT COLLATE "C" PRIMARY KEY REFERENCES operators (name) ON DELETE CASCADE,
    body     TEXT NOT NULL
);

CREATE TABLE passkeys (
    id         TEXT COLLATE "C" PRIMARY KEY,
    operator   TEXT COLLATE "C" NOT NULL REFERENCES operators (name) ON DELETE CASCADE,
    credential TEXT COLLATE "C" NOT NULL UNIQUE,
    name       TEXT NOT NULL,
    count      BIGINT NOT NULL, -- of its signatures, as it last said
    used       BIGINT NOT NULL, -- microseconds since 1970; 0: never
    body       TEXT NOT NULL
);
CREATE INDEX passkeys_operator ON passkeys (operator);

CREATE TABLE sessions (
    key       TEXT COLLATE "C" PRIMARY KEY, -- SHA-256 of the cookie's value
    id        TEXT COLLATE "C" NOT NULL,
    operator  TEXT COLLATE "C" NOT NULL REFERENCES operators (name) ON DELETE CASCADE,
    access    TEXT COLLATE "C" REFERENCES accesses (id) ON DELETE CASCADE, -- the access token behind it, if it was one
    seen      BIGINT NOT NULL, -- microseconds since 1970, as are those below
    confirmed BIGINT NOT NULL,
    until     BIGINT NOT NULL,
    scope     TEXT NOT NULL,
    body      TEXT NOT NULL
);
CREATE INDEX sessions_operator ON sessions (operator, seen);
CREATE INDEX sessions_access ON sessions (access);

-- Challenges of passkeys that wait for their answer. Each is taken once.
CREATE TABLE ceremonies (
    id    TEXT COLLATE "C" PRIMARY KEY,
    until BIGINT NOT NULL, -- microseconds since 1970
    body  TEXT NOT NULL
);
CREATE INDEX ceremonies_until ON ceremonies (until);
