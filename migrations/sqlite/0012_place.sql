-- Where the finding of a change stands: its id is a hash, by which each would be looked for on another page. No more than
-- a hint, for VACUUM may number rows anew.
ALTER TABLE outbox ADD COLUMN place INTEGER;

DROP TRIGGER finding_recorded;
CREATE TRIGGER finding_recorded AFTER INSERT ON findings BEGIN
    INSERT INTO outbox (kind, id, at, place) VALUES ('finding', new.id, new.recorded_at, new.rowid);
END;

DROP TRIGGER finding_judged;
CREATE TRIGGER finding_judged AFTER UPDATE OF action, verdict, decided_by ON findings BEGIN
    INSERT INTO outbox (kind, id, at, place) VALUES ('finding', new.id, new.recorded_at, new.rowid);
END;
