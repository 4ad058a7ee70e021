-- What questions about the past need, and what is still to be sent to other stores.

ALTER TABLE findings ADD COLUMN flagged INTEGER NOT NULL DEFAULT 1;       -- 0: analysed and below `thresholds.flag`
ALTER TABLE findings ADD COLUMN is_system_url INTEGER NOT NULL DEFAULT 0; -- an exclusion names its path
CREATE INDEX findings_analysed ON findings (time) WHERE flagged = 0;
ALTER TABLE findings ADD COLUMN case_id TEXT NOT NULL DEFAULT '';         -- findings of one client without a pause of an hour

-- Of rows that came from another store: its version, so that no older one replaces it. Null: this database's
-- own, or changed here, which no other replaces.
ALTER TABLE findings ADD COLUMN version INTEGER;
ALTER TABLE decisions ADD COLUMN version INTEGER;

-- 0: as it is, for good; 1: the target is kept until the decision has ended and everybody who must let go knows;
-- 2: the target and what was said of it are pseudonyms by now.
ALTER TABLE decisions ADD COLUMN pseudonym INTEGER NOT NULL DEFAULT 0;
CREATE INDEX decisions_to_hide ON decisions (state) WHERE pseudonym = 1;

-- The agent that took the decision; empty: this one.
ALTER TABLE decisions ADD COLUMN origin TEXT NOT NULL DEFAULT '';

CREATE INDEX decisions_by_finding ON decisions (finding_id) WHERE finding_id IS NOT NULL;

-- The life of each decision. `seq` is the outbox's number of the change.
CREATE TABLE decision_changes (
    seq         INTEGER PRIMARY KEY,
    decision_id TEXT    NOT NULL,
    state       TEXT    NOT NULL,
    at          INTEGER NOT NULL,
    note        TEXT    NOT NULL
) STRICT;

CREATE INDEX decision_changes_by_decision ON decision_changes (decision_id);

DROP TRIGGER decision_recorded;
CREATE TRIGGER decision_recorded AFTER INSERT ON decisions BEGIN
    INSERT INTO outbox (kind, id, at) VALUES ('decision', new.id, new.changed_at);
    INSERT INTO decision_changes VALUES (last_insert_rowid(), new.id, new.state, new.changed_at, new.note);
    UPDATE decisions SET changed_seq = last_insert_rowid() WHERE rowid = new.rowid;
END;

DROP TRIGGER decision_changed;
CREATE TRIGGER decision_changed AFTER UPDATE OF state ON decisions WHEN old.state <> new.state BEGIN
    INSERT INTO outbox (kind, id, at) VALUES ('decision', new.id, new.changed_at);
    INSERT INTO decision_changes VALUES (last_insert_rowid(), new.id, new.state, new.changed_at, new.note);
    UPDATE decisions SET changed_seq = last_insert_rowid() WHERE rowid = new.rowid;
END;

CREATE TRIGGER decision_deleted AFTER DELETE ON decisions BEGIN
    DELETE FROM decision_changes WHERE decision_id = old.id;
END;

-- `record = "nothing"`: what was counted since the last checkpoint and is read again after a crash.
CREATE TABLE counted (
    number INTEGER PRIMARY KEY,
    id     TEXT NOT NULL UNIQUE
) STRICT;

-- Who was ever found: outlives the findings themselves by the retention of totals.
CREATE TABLE clients (
    client     TEXT    NOT NULL PRIMARY KEY,
    first_seen INTEGER NOT NULL,
    last_seen  INTEGER NOT NULL,
    findings   INTEGER NOT NULL,
    max_score  INTEGER NOT NULL
) STRICT;

CREATE INDEX clients_by_last_seen ON clients (last_seen);

-- Counts that the writer keeps, so that questions about months read few rows. Of a dimension with many
-- keys each hour keeps its largest and sums the rest up under the empty key; what is older than two days
-- is kept by the day.
CREATE TABLE rollups (
    dimension TEXT    NOT NULL, -- all, category, decided_by, severity, rule, client, network, path
    span      TEXT    NOT NULL, -- hour, day
    start     INTEGER NOT NULL, -- UTC
    key       TEXT    NOT NULL,
    findings  INTEGER NOT NULL,
    blocks    INTEGER NOT NULL, -- findings whose action was block
    analysed  INTEGER NOT NULL, -- what was analysed and is no finding
    PRIMARY KEY (dimension, span, start, key)
) STRICT, WITHOUT ROWID;

-- One run of an analysis on demand.
CREATE TABLE analysis_sessions (
    id                TEXT    NOT NULL PRIMARY KEY,
    at                INTEGER NOT NULL,
    source            TEXT    NOT NULL,
    log_count         INTEGER NOT NULL,
    threat_count      INTEGER NOT NULL,
    overall_score     INTEGER NOT NULL,
    health_status     TEXT    NOT NULL,
    compression_ratio REAL    NOT NULL,
    tokens_saved      INTEGER NOT NULL
) STRICT;

CREATE INDEX analysis_sessions_by_time ON analysis_sessions (at);

-- How far each reader of the outbox has come; what it still has to read is not pruned.
CREATE TABLE outbox_readers (
    name    TEXT    NOT NULL PRIMARY KEY,
    seq     INTEGER NOT NULL,
    dropped INTEGER NOT NULL DEFAULT 0 -- changes that went unread because the spool was full
) STRICT, WITHOUT ROWID;

CREATE TRIGGER call_recorded AFTER INSERT ON model_calls BEGIN
    INSERT INTO outbox (kind, id, at) VALUES ('call', new.id, new.at);
END;

CREATE TRIGGER correction_recorded AFTER INSERT ON corrections BEGIN
    INSERT INTO outbox (kind, id, at) VALUES ('correction', new.finding_id, new.at);
END;

CREATE TRIGGER session_recorded AFTER INSERT ON analysis_sessions BEGIN
    INSERT INTO outbox (kind, id, at) VALUES ('session', new.id, new.at);
END;
