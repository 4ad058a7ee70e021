-- Decisions by what became of them and the hour in which they were taken: a month's are counted from some thousand rows.
CREATE TABLE palisade.decided (
    agent     text        NOT NULL,
    is_own    boolean     NOT NULL, -- the agent's own decision
    start     timestamptz NOT NULL,
    state     text        NOT NULL,
    simulated boolean     NOT NULL,
    imported  boolean     NOT NULL,
    decisions bigint      NOT NULL,
    PRIMARY KEY (start, agent, is_own, state, simulated, imported)
);

-- Kept by the table itself, for decisions come, change and go in several ways.
CREATE FUNCTION palisade.count_decisions() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        INSERT INTO palisade.decided AS counted SELECT agent, origin = '', date_trunc('hour', created_at, 'UTC'), state,
            simulated, proposer = 'imported', -count(*) FROM before GROUP BY 3, 1, 2, 4, 5, 6 ORDER BY 3, 1, 2, 4, 5, 6
        ON CONFLICT (start, agent, is_own, state, simulated, imported)
        DO UPDATE SET decisions = counted.decisions + excluded.decisions;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO palisade.decided AS counted SELECT agent, origin = '', date_trunc('hour', created_at, 'UTC'), state,
            simulated, proposer = 'imported', count(*) FROM after GROUP BY 3, 1, 2, 4, 5, 6 ORDER BY 3, 1, 2, 4, 5, 6
        ON CONFLICT (start, agent, is_own, state, simulated, imported)
        DO UPDATE SET decisions = counted.decisions + excluded.decisions;
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER decisions_come AFTER INSERT ON palisade.decisions REFERENCING NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION palisade.count_decisions();
CREATE TRIGGER decisions_change AFTER UPDATE ON palisade.decisions REFERENCING OLD TABLE AS before NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION palisade.count_decisions();
CREATE TRIGGER decisions_go AFTER DELETE ON palisade.decisions REFERENCING OLD TABLE AS before
    FOR EACH STATEMENT EXECUTE FUNCTION palisade.count_decisions();

INSERT INTO palisade.decided SELECT agent, origin = '', date_trunc('hour', created_at, 'UTC'), state, simulated,
    proposer = 'imported', count(*) FROM palisade.decisions GROUP BY 3, 1, 2, 4, 5, 6;

-- It need no longer hold what is counted.
DROP INDEX palisade.decisions_by_time;
CREATE INDEX decisions_by_time ON palisade.decisions (created_at);
