-- What was found in an analysis that somebody asked to keep: as JSON, without a line of its text.
CREATE TABLE analyses (
    id       TEXT NOT NULL PRIMARY KEY, -- of analysis_sessions
    analysis TEXT NOT NULL
) STRICT;

CREATE TRIGGER analysis_forgotten AFTER DELETE ON analysis_sessions BEGIN
    DELETE FROM analyses WHERE id = old.id;
END;
