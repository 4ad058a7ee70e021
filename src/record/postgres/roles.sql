-- Run after the migrations, each time, for roles and versions of the server come later. Supabase's roles:
-- `authenticated` reads, `service_role` writes, `anon` does nothing. Whatever is not said here is refused.
DO $$
DECLARE
    one record;
BEGIN
    FOR one IN
        SELECT c.oid, c.relname, c.relispartition, c.relrowsecurity FROM pg_catalog.pg_class c
        WHERE c.relnamespace = 'palisade'::pg_catalog.regnamespace AND c.relkind IN ('r', 'p')
    LOOP
        IF NOT one.relrowsecurity THEN
            EXECUTE pg_catalog.format('ALTER TABLE palisade.%I ENABLE ROW LEVEL SECURITY', one.relname);
        END IF;
        -- A partition is read and written through its table alone.
        CONTINUE WHEN one.relispartition;
        IF pg_catalog.to_regrole('authenticated') IS NOT NULL AND one.relname <> 'migrations' AND NOT EXISTS
            (SELECT FROM pg_catalog.pg_policy WHERE polrelid = one.oid AND polname = 'authenticated_reads')
        THEN
            EXECUTE pg_catalog.format(
                'CREATE POLICY authenticated_reads ON palisade.%I FOR SELECT TO authenticated USING (true)', one.relname);
            EXECUTE pg_catalog.format('GRANT SELECT ON palisade.%I TO authenticated', one.relname);
        END IF;
        IF pg_catalog.to_regrole('service_role') IS NOT NULL AND NOT EXISTS
            (SELECT FROM pg_catalog.pg_policy WHERE polrelid = one.oid AND polname = 'service_role_writes')
        THEN
            EXECUTE pg_catalog.format(
                'CREATE POLICY service_role_writes ON palisade.%I TO service_role USING (true) WITH CHECK (true)',
                one.relname);
            EXECUTE pg_catalog.format(
                'GRANT SELECT, INSERT, UPDATE, DELETE ON palisade.%I TO service_role', one.relname);
        END IF;
    END LOOP;

    -- Older servers would show it with the rights of its owner: to everybody who may select from it.
    IF pg_catalog.current_setting('server_version_num')::int >= 150000
        AND pg_catalog.to_regclass('palisade.logagent') IS NULL
    THEN
        CREATE VIEW palisade.logagent WITH (security_invoker = true) AS
        SELECT id, recorded_at AS created_at, source_ip AS ip_address, method,
            split_part(uri, '?', 1) AS url,
            CASE WHEN strpos(uri, '?') > 0 THEN substr(uri, strpos(uri, '?') + 1) ELSE '' END AS query_string,
            user_agent, status, upper(verdict) AS decision, confidence, reasoning,
            CASE WHEN decided_by IN ('tier1', 'tier2', 'cache') THEN 'LLM' ELSE upper(decided_by) END AS decision_maker,
            is_system_url, category AS threat_type,
            CASE WHEN decided_by IN ('tier1', 'tier2', 'cache') THEN upper(verdict) END AS llm_decision,
            flagged AND action = 'block' AS is_blocked, time AS "timestamp", decided_by AS tier
        FROM palisade.findings;
    END IF;

    IF pg_catalog.to_regrole('authenticated') IS NOT NULL THEN
        GRANT USAGE ON SCHEMA palisade TO authenticated;
    END IF;
    IF pg_catalog.to_regrole('service_role') IS NOT NULL THEN
        GRANT USAGE ON SCHEMA palisade TO service_role;
        GRANT EXECUTE ON FUNCTION palisade.add_day(date), palisade.drop_days(date) TO service_role;
    END IF;
    IF pg_catalog.to_regclass('palisade.logagent') IS NOT NULL THEN
        IF pg_catalog.to_regrole('authenticated') IS NOT NULL THEN
            GRANT SELECT ON palisade.logagent TO authenticated;
        END IF;
        IF pg_catalog.to_regrole('service_role') IS NOT NULL THEN
            GRANT SELECT ON palisade.logagent TO service_role;
        END IF;
    END IF;
    IF pg_catalog.to_regrole('anon') IS NOT NULL THEN
        REVOKE ALL ON SCHEMA palisade FROM anon;
        REVOKE ALL ON ALL TABLES IN SCHEMA palisade FROM anon;
    END IF;
END $$;
