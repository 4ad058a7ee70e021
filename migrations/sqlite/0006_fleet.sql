-- How far this agent has come with telling others what it decided, and with what they decided.
CREATE TABLE fleet_cursors (
    direction TEXT NOT NULL PRIMARY KEY, -- to.redis, from.redis, to.postgres, from.postgres
    cursor    TEXT NOT NULL              -- of changes here, a number; of a bus, as it writes it
) STRICT, WITHOUT ROWID;
