-- People who use the dashboard, and what they did.
CREATE TABLE users (
    name       TEXT NOT NULL PRIMARY KEY,
    role       TEXT NOT NULL,    -- viewer, analyst, admin
    password   TEXT,             -- argon2id as a PHC string; NULL: none was chosen yet
    is_active  INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    last_login INTEGER
) STRICT, WITHOUT ROWID;

-- What opens the dashboard: sessions of browsers, tokens of programs, invitations. Of each the SHA-256 alone.
CREATE TABLE access_keys (
    hash       BLOB NOT NULL PRIMARY KEY,
    id         TEXT NOT NULL UNIQUE, -- what people call it by
    kind       TEXT NOT NULL,        -- session, token, invitation
    user       TEXT NOT NULL REFERENCES users (name) ON DELETE CASCADE,
    role       TEXT NOT NULL,        -- what it may at most
    note       TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    last_used  INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX access_keys_by_user ON access_keys (user, kind);

CREATE TABLE audit (
    id      INTEGER PRIMARY KEY,
    time    INTEGER NOT NULL,
    user    TEXT NOT NULL,
    address TEXT NOT NULL,
    action  TEXT NOT NULL,
    detail  TEXT NOT NULL
) STRICT;
