-- Findings come in the order of time, more or less: a key that begins with it grows at its end, where one that begins
-- with a hash touches a page a row. It answers what the index by time alone did.
ALTER TABLE palisade.findings DROP CONSTRAINT findings_pkey;
DROP INDEX palisade.findings_by_time;
ALTER TABLE palisade.findings ADD PRIMARY KEY (time, id);
