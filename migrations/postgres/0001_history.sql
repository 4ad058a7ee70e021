-- What agents remember together. Every statement names its schema: nothing here and nothing that agents
-- ask relies on a session's settings, so that a transaction pooler may stand between. The schema is there
-- already, for it holds the list of applied migrations. Who may read what: src/record/postgres/roles.sql.

CREATE TABLE palisade.agents (
    agent      text        NOT NULL PRIMARY KEY,
    version    text        NOT NULL,
    first_seen timestamptz NOT NULL,
    last_seen  timestamptz NOT NULL
);

-- `version`: the outbox's number with which the agent sent the row; a row never gives way to an older one.
CREATE TABLE palisade.findings (
    agent         text        NOT NULL,
    id            text        NOT NULL,
    version       bigint      NOT NULL,
    time          timestamptz NOT NULL, -- of the event, by the log
    recorded_at   timestamptz NOT NULL,
    source_ip     inet,
    client        cidr,
    method        text        NOT NULL,
    uri           text        NOT NULL,
    status        integer     NOT NULL,
    user_agent    text        NOT NULL,
    referer       text        NOT NULL,
    category      text        NOT NULL,
    score         smallint    NOT NULL,
    rule_ids      text[]      NOT NULL,
    evidence      jsonb       NOT NULL,
    action        text        NOT NULL, -- none, monitor, block: before the gate
    verdict       text        NOT NULL, -- malicious, benign, uncertain
    confidence    smallint    NOT NULL,
    decided_by    text        NOT NULL, -- rules, cache, tier1, tier2, operator
    reasoning     text        NOT NULL,
    flagged       boolean     NOT NULL, -- false: analysed and below `thresholds.flag`
    is_system_url boolean     NOT NULL,
    case_id       text        NOT NULL,
    file          text        NOT NULL,
    generation    bigint      NOT NULL, -- the signed number with the same 64 bits
    byte_offset   bigint      NOT NULL,
    line_number   bigint,
    PRIMARY KEY (id, time)
) PARTITION BY RANGE (time);

CREATE INDEX findings_by_time ON palisade.findings (time);
CREATE INDEX findings_by_client ON palisade.findings (client, time);
-- What goes earlier than its day's partition.
CREATE INDEX findings_analysed ON palisade.findings (time) WHERE NOT flagged;

-- What belongs to no day that has a partition: far from today by a wrong clock or an old log.
CREATE TABLE palisade.findings_default PARTITION OF palisade.findings DEFAULT;

-- Makes the partition of a day in UTC, with what waits for it in the default one. Not `PARTITION OF`, which
-- would stop every reader and writer of findings. For those who may write but own nothing, too.
CREATE FUNCTION palisade.add_day(day date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    name     text := 'findings_' || to_char(day, 'YYYYMMDD');
    day_from text := day || ' 00:00:00+00';
    day_to   text := (day + 1) || ' 00:00:00+00';
BEGIN
    PERFORM pg_advisory_xact_lock(1346456649, 2);
    IF to_regclass('palisade.' || name) IS NOT NULL THEN
        RETURN;
    END IF;
    LOCK TABLE palisade.findings_default IN ACCESS EXCLUSIVE MODE;
    EXECUTE format('CREATE TABLE palisade.%I (LIKE palisade.findings INCLUDING DEFAULTS)', name);
    EXECUTE format('ALTER TABLE palisade.%I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format(
        'WITH moved AS (DELETE FROM palisade.findings_default WHERE time >= %L AND time < %L RETURNING *) '
        'INSERT INTO palisade.%I SELECT * FROM moved', day_from, day_to, name);
    EXECUTE format('ALTER TABLE palisade.findings ATTACH PARTITION palisade.%I FOR VALUES FROM (%L) TO (%L)',
        name, day_from, day_to);
END $$;

-- Drops the partitions of days before `day`; gives about how many rows they had.
CREATE FUNCTION palisade.drop_days(day date) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    old  record;
    rows bigint := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(1346456649, 2);
    FOR old IN
        SELECT c.relname, greatest(c.reltuples, 0)::bigint AS rows FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'palisade.findings'::regclass AND c.relname ~ '^findings_[0-9]{8}$'
        AND to_date(substr(c.relname, 10), 'YYYYMMDD') < day
    LOOP
        EXECUTE format('DROP TABLE palisade.%I', old.relname);
        rows := rows + old.rows;
    END LOOP;
    RETURN rows;
END $$;

REVOKE ALL ON FUNCTION palisade.add_day(date), palisade.drop_days(date) FROM PUBLIC;

CREATE TABLE palisade.decisions (
    id         text        NOT NULL PRIMARY KEY,
    agent      text        NOT NULL,
    version    bigint      NOT NULL,
    target     cidr        NOT NULL,
    proposer   text        NOT NULL,
    finding_id text,
    category   text,
    score      smallint    NOT NULL,
    reason     text        NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    simulated  boolean     NOT NULL,
    offences   integer     NOT NULL,
    state      text        NOT NULL, -- pending, active, held: live; expired, lifted, refused: ended
    note       text        NOT NULL,
    changed_at timestamptz NOT NULL, -- when the row came here as it is
    via_proxy  boolean     NOT NULL,
    was_served boolean     NOT NULL,
    origin     text        NOT NULL  -- the agent that decided; empty: `agent` itself
);

CREATE INDEX decisions_by_time ON palisade.decisions (created_at);
CREATE INDEX decisions_by_target ON palisade.decisions (target, created_at);
CREATE INDEX decisions_by_finding ON palisade.decisions (finding_id) WHERE finding_id IS NOT NULL;
CREATE INDEX decisions_live ON palisade.decisions (agent, expires_at) WHERE state IN ('pending', 'active', 'held');

CREATE TABLE palisade.decision_changes (
    agent       text        NOT NULL,
    decision_id text        NOT NULL,
    seq         bigint      NOT NULL, -- the agent's own number
    state       text        NOT NULL,
    at          timestamptz NOT NULL,
    note        text        NOT NULL,
    PRIMARY KEY (decision_id, seq)
);

CREATE TABLE palisade.clients (
    agent      text        NOT NULL,
    client     cidr        NOT NULL,
    first_seen timestamptz NOT NULL,
    last_seen  timestamptz NOT NULL,
    findings   bigint      NOT NULL,
    max_score  smallint    NOT NULL,
    PRIMARY KEY (client, agent)
);

CREATE INDEX clients_by_last_seen ON palisade.clients (last_seen);

CREATE TABLE palisade.model_calls (
    agent          text             NOT NULL,
    id             bigint           NOT NULL, -- the agent's own number
    at             timestamptz      NOT NULL,
    service        text             NOT NULL,
    model          text             NOT NULL,
    finding_id     text             NOT NULL,
    outcome        text             NOT NULL,
    millis         bigint           NOT NULL,
    sent_bytes     bigint           NOT NULL,
    received_bytes bigint           NOT NULL,
    input_tokens   bigint           NOT NULL,
    output_tokens  bigint           NOT NULL,
    usd            double precision NOT NULL,
    PRIMARY KEY (at, agent, id)
);

CREATE TABLE palisade.corrections (
    finding_id text        NOT NULL PRIMARY KEY,
    agent      text        NOT NULL,
    version    bigint      NOT NULL,
    verdict    text        NOT NULL,
    view       text        NOT NULL,
    at         timestamptz NOT NULL
);

CREATE TABLE palisade.analysis_sessions (
    id                text             NOT NULL PRIMARY KEY,
    agent             text             NOT NULL,
    at                timestamptz      NOT NULL,
    source            text             NOT NULL,
    log_count         bigint           NOT NULL,
    threat_count      bigint           NOT NULL,
    overall_score     smallint         NOT NULL,
    health_status     text             NOT NULL,
    compression_ratio double precision NOT NULL,
    tokens_saved      bigint           NOT NULL
);

CREATE INDEX analysis_sessions_by_time ON palisade.analysis_sessions (at);

-- Counts that the writer keeps with the findings: see the same table of SQLite.
CREATE TABLE palisade.rollups (
    agent     text        NOT NULL,
    dimension text        NOT NULL,
    span      text        NOT NULL,
    start     timestamptz NOT NULL,
    key       text        NOT NULL,
    findings  bigint      NOT NULL,
    blocks    bigint      NOT NULL,
    analysed  bigint      NOT NULL,
    PRIMARY KEY (dimension, span, start, key, agent)
);
