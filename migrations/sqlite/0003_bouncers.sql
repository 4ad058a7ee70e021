-- Who may take decisions over the CrowdSec-compatible API, and how far each has come.

CREATE TABLE bouncers (
    name       TEXT    NOT NULL PRIMARY KEY,
    key_hash   BLOB    NOT NULL UNIQUE, -- SHA-256 of the key, which is kept nowhere
    created_at INTEGER NOT NULL,
    last_pull  INTEGER,                 -- null: never
    user_agent TEXT    NOT NULL,        -- as it was sent with the last pull
    cursor     INTEGER NOT NULL         -- decisions.changed_seq up to which it has everything; 0: it has nothing
) STRICT;

-- The outbox's number of a decision's last change: in the order of commits, and never given twice. A
-- reader that keeps this as its cursor misses nothing, however much of the outbox itself is gone.
ALTER TABLE decisions ADD COLUMN changed_seq INTEGER NOT NULL DEFAULT 0;

-- Each row so far made at least one entry of the outbox when it came, so no number is too high.
UPDATE decisions SET changed_seq = rowid;

CREATE INDEX decisions_in_force ON decisions (changed_seq) WHERE state IN ('pending', 'active');
CREATE INDEX decisions_ended ON decisions (changed_seq) WHERE state IN ('expired', 'lifted');

DROP TRIGGER decision_recorded;
CREATE TRIGGER decision_recorded AFTER INSERT ON decisions BEGIN
    INSERT INTO outbox (kind, id, at) VALUES ('decision', new.id, new.changed_at);
    UPDATE decisions SET changed_seq = last_insert_rowid() WHERE rowid = new.rowid;
END;

DROP TRIGGER decision_changed;
CREATE TRIGGER decision_changed AFTER UPDATE OF state ON decisions WHEN old.state <> new.state BEGIN
    INSERT INTO outbox (kind, id, at) VALUES ('decision', new.id, new.changed_at);
    UPDATE decisions SET changed_seq = last_insert_rowid() WHERE rowid = new.rowid;
END;
