-- Fills a database of SQLite that `palisade run` made with 10 million findings of 90 days and their counts:
--     sqlite3 STATE/palisade.db < bench/history.sql
-- Change the number in `wanted` for fewer. Then: time palisade stats --since 90d --local

PRAGMA synchronous = OFF;
DROP TRIGGER finding_recorded; -- made again below
BEGIN;
CREATE TEMP TABLE wanted AS SELECT 10000000 AS findings, unixepoch() * 1000 AS now, 90 * 86400000 AS span;

INSERT INTO findings (id, file, generation, byte_offset, time, source_ip, client, method, uri, status, user_agent, referer,
    category, score, rule_ids, evidence, action, verdict, confidence, decided_by, reasoning, recorded_at, flagged, case_id)
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n, wanted WHERE i + 1 < findings),
-- Few clients find much, most find little.
    r AS (SELECT i, i * 7919 % 1000003 AS a, i * 104729 % 1009 AS b, i * 31 % 97 AS c FROM n),
    s AS (SELECT *, a * a / 1000003 * 60000 / 1000003 AS host FROM r)
SELECT printf('%032x', i), '/var/log/nginx/access.log', 1, i * 200, now - span + i * (span / findings),
    printf('%d.%d.%d.%d', 11 + host % 180, host / 250 % 250, host / 7 % 250, host % 251),
    printf('%d.%d.%d.%d', 11 + host % 180, host / 250 % 250, host / 7 % 250, host % 251),
    'GET', '/shop/item' || b || '?id=1%27%20UNION%20SELECT%20' || a, 404, 'Mozilla/5.0 (X11; Linux x86_64)', '',
    CASE c % 6 WHEN 0 THEN 'sqli' WHEN 1 THEN 'xss' WHEN 2 THEN 'lfi' WHEN 3 THEN 'rce' ELSE 'scanner' END, 5 + c % 6,
    json_array('rule-' || c), '[]', CASE WHEN c % 6 > 2 THEN 'block' ELSE 'monitor' END, 'malicious', 8,
    CASE c % 10 WHEN 0 THEN 'tier1' WHEN 1 THEN 'cache' ELSE 'rules' END, 'a rule hit', now, 1, printf('%032x', host)
FROM s, wanted;

INSERT OR REPLACE INTO clients SELECT client, min(time), max(time), count(*), max(score) FROM findings WHERE flagged
    GROUP BY client;

INSERT OR REPLACE INTO decisions (id, target, proposer, finding_id, category, score, reason, created_at, expires_at, simulated,
    offences, state, note, changed_at)
SELECT 'd' || substr(id, 2), client, 'rules', id, category, score, reasoning, time, time + 14400000, 0, rowid % 3 = 0,
    CASE WHEN rowid % 50 = 0 THEN 'refused' ELSE 'expired' END, '', time
FROM findings WHERE action = 'block' AND rowid % 50 < 2;

CREATE TEMP TABLE counted AS
WITH one AS (
    SELECT 'all' AS dimension, time, '' AS key, action, flagged FROM findings
    UNION ALL SELECT 'category', time, category, action, flagged FROM findings
    UNION ALL SELECT 'decided_by', time, decided_by, action, flagged FROM findings
    UNION ALL SELECT 'severity', time, CASE WHEN score > 8 THEN 'critical' WHEN score > 6 THEN 'high' ELSE 'medium' END,
        action, flagged FROM findings
    UNION ALL SELECT 'rule', time, rule_ids ->> 0, action, flagged FROM findings
    UNION ALL SELECT 'client', time, client, action, flagged FROM findings
    UNION ALL SELECT 'network', time, rtrim(client, '0123456789') || '0/24', action, flagged FROM findings
    UNION ALL SELECT 'path', time, substr(uri, 1, instr(uri, '?') - 1), action, flagged FROM findings)
-- Of many keys hours are kept for two days, then days.
SELECT dimension, CASE WHEN is_hour THEN 'hour' ELSE 'day' END AS span,
    CASE WHEN is_hour THEN time - time % 3600000 ELSE time - time % 86400000 END AS start, key,
    sum(flagged) AS findings, sum(flagged AND action = 'block') AS blocks, sum(NOT flagged) AS analysed
FROM (SELECT *, dimension IN ('all', 'category', 'decided_by', 'severity')
        OR time >= (SELECT (now - 172800000) / 86400000 * 86400000 FROM wanted) AS is_hour FROM one)
GROUP BY 1, 2, 3, 4;

-- Each hour or day keeps its thousand largest keys.
DELETE FROM rollups;
INSERT INTO rollups SELECT dimension, span, start, CASE WHEN rank > 1000 THEN '' ELSE key END AS kept, sum(findings),
    sum(blocks), sum(analysed)
FROM (SELECT *, row_number() OVER (PARTITION BY dimension, span, start ORDER BY findings DESC) AS rank FROM counted)
GROUP BY dimension, span, start, kept;

INSERT INTO model_calls (at, service, model, finding_id, outcome, millis, sent_bytes, received_bytes, input_tokens,
    output_tokens, usd)
SELECT time, 'local', 'small', id, 'answered', 800, 2000, 300, 600, 60, 0.0001 FROM findings WHERE rowid % 100 = 0;
DELETE FROM outbox;
CREATE TRIGGER finding_recorded AFTER INSERT ON findings BEGIN
    INSERT INTO outbox (kind, id, at) VALUES ('finding', new.id, new.recorded_at);
END;
COMMIT;
