-- What the daemon keeps for good.
--
-- Times are milliseconds since 1970, UTC. Unsigned 64-bit numbers (generation, inode, …) are
-- stored as the signed number with the same bits. Addresses are text: one address bare, a network
-- with its prefix length, so that findings.client and decisions.target compare as they stand.

CREATE TABLE findings (
    id          TEXT    NOT NULL PRIMARY KEY, -- hash(generation, byte_offset): replay is harmless
    file        TEXT    NOT NULL,
    generation  INTEGER NOT NULL,
    byte_offset INTEGER NOT NULL,
    line_number INTEGER,
    time        INTEGER NOT NULL, -- of the event, by the log
    source_ip   TEXT,
    client      TEXT,
    method      TEXT    NOT NULL,
    uri         TEXT    NOT NULL,
    status      INTEGER NOT NULL,
    user_agent  TEXT    NOT NULL,
    referer     TEXT    NOT NULL,
    category    TEXT    NOT NULL,
    score       INTEGER NOT NULL,
    rule_ids    TEXT    NOT NULL, -- JSON: ["…"]
    evidence    TEXT    NOT NULL, -- JSON: [{"rule_id","target","matched","score"}]
    action      TEXT    NOT NULL, -- none, monitor, block: before the gate
    verdict     TEXT    NOT NULL, -- malicious, benign, uncertain
    confidence  INTEGER NOT NULL,
    decided_by  TEXT    NOT NULL,
    reasoning   TEXT    NOT NULL,
    recorded_at INTEGER NOT NULL
) STRICT;

CREATE INDEX findings_by_time ON findings (time);
CREATE INDEX findings_by_client ON findings (client, time);

-- finding_id is no foreign key: a ban outlives the finding that retention removes.
CREATE TABLE decisions (
    id         TEXT    NOT NULL PRIMARY KEY,
    target     TEXT    NOT NULL,
    proposer   TEXT    NOT NULL,
    finding_id TEXT,
    category   TEXT,
    score      INTEGER NOT NULL,
    reason     TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    simulated  INTEGER NOT NULL,
    offences   INTEGER NOT NULL,
    state      TEXT    NOT NULL, -- pending, active, held: live; expired, lifted, refused: ended
    note       TEXT    NOT NULL,
    changed_at INTEGER NOT NULL, -- when the state was set
    lifted_at  INTEGER GENERATED ALWAYS AS (CASE WHEN state = 'lifted' THEN changed_at END) VIRTUAL
) STRICT;

CREATE INDEX decisions_by_state ON decisions (state, expires_at);
CREATE INDEX decisions_by_target ON decisions (target, created_at);
CREATE INDEX decisions_by_time ON decisions (created_at);

-- Where reading resumes. `marks` and `snapshot` belong together: see Checkpoint.
CREATE TABLE marks (
    id          INTEGER PRIMARY KEY, -- order of arrival
    path        BLOB    NOT NULL,    -- a path need not be UTF-8
    device      INTEGER NOT NULL,
    inode       INTEGER NOT NULL,
    generation  INTEGER NOT NULL UNIQUE,
    byte_offset INTEGER NOT NULL,
    head_len    INTEGER NOT NULL,
    head_hash   INTEGER NOT NULL
) STRICT;

CREATE TABLE snapshot (
    id    INTEGER PRIMARY KEY CHECK (id = 1),
    at    INTEGER NOT NULL,
    state BLOB    NOT NULL
) STRICT;

CREATE TABLE allow (
    network    TEXT    NOT NULL PRIMARY KEY,
    note       TEXT    NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

-- The change feed. AUTOINCREMENT, so that a pruned seq is never given again and a reader's cursor
-- stays true. Written by triggers, so that no writer can forget it and a replayed row, which is
-- not inserted, makes no change.
CREATE TABLE outbox (
    seq  INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT    NOT NULL,
    id   TEXT    NOT NULL,
    at   INTEGER NOT NULL
) STRICT;

CREATE TRIGGER finding_recorded AFTER INSERT ON findings BEGIN
    INSERT INTO outbox (kind, id, at) VALUES ('finding', new.id, new.recorded_at);
END;

CREATE TRIGGER decision_recorded AFTER INSERT ON decisions BEGIN
    INSERT INTO outbox (kind, id, at) VALUES ('decision', new.id, new.changed_at);
END;

CREATE TRIGGER decision_changed AFTER UPDATE OF state ON decisions WHEN old.state <> new.state BEGIN
    INSERT INTO outbox (kind, id, at) VALUES ('decision', new.id, new.changed_at);
END;
