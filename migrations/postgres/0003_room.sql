-- Counts and clients are changed again and again. With room on its page a new version of a row stands beside the
-- old one, and indexes that name neither are left alone: half of the time that counting took.
ALTER TABLE palisade.rollups SET (fillfactor = 60);
ALTER TABLE palisade.clients SET (fillfactor = 60);
