-- What models were asked, what it cost, and where an operator knew better.

-- Every call of a model or of a reputation service: what left, and for which finding.
CREATE TABLE model_calls (
    id             INTEGER PRIMARY KEY,
    at             INTEGER NOT NULL,
    service        TEXT    NOT NULL, -- a tier's name, abuseipdb, virustotal
    model          TEXT    NOT NULL,
    finding_id     TEXT    NOT NULL,
    outcome        TEXT    NOT NULL,
    millis         INTEGER NOT NULL,
    sent_bytes     INTEGER NOT NULL,
    received_bytes INTEGER NOT NULL,
    input_tokens   INTEGER NOT NULL,
    output_tokens  INTEGER NOT NULL,
    usd            REAL    NOT NULL
) STRICT;

CREATE INDEX model_calls_by_time ON model_calls (at);

-- What an operator says of a finding. `view` is what models were shown of it: corrections hold for
-- everything that looks like it, and calibration learns from them.
CREATE TABLE corrections (
    finding_id TEXT    NOT NULL PRIMARY KEY,
    verdict    TEXT    NOT NULL, -- malicious, benign
    view       TEXT    NOT NULL,
    at         INTEGER NOT NULL
) STRICT;

CREATE TRIGGER finding_judged AFTER UPDATE OF action, verdict, decided_by ON findings BEGIN
    INSERT INTO outbox (kind, id, at) VALUES ('finding', new.id, new.recorded_at);
END;
