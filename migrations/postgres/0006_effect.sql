-- What became of decisions is counted from these indexes alone: they hold all that the count asks for.
DROP INDEX palisade.decisions_by_time;
CREATE INDEX decisions_by_time ON palisade.decisions (created_at)
    INCLUDE (expires_at, simulated, state, proposer, origin, agent);
DROP INDEX palisade.decisions_by_target;
CREATE INDEX decisions_by_target ON palisade.decisions (target, created_at)
    INCLUDE (offences, expires_at, state, origin, agent);

-- A client is seen again and again. Where no index names what changes, a new version of its row is made beside the old
-- one and indexes are left alone: by the day, in UTC, and not by the moment.
DROP INDEX palisade.clients_by_last_seen;
ALTER TABLE palisade.clients ADD COLUMN last_day timestamptz NOT NULL GENERATED ALWAYS AS
    (date_trunc('day', last_seen AT TIME ZONE INTERVAL '0') AT TIME ZONE INTERVAL '0') STORED;
CREATE INDEX clients_by_last_day ON palisade.clients (last_day);
