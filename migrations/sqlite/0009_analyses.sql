-- Whose an analysis is that was kept, and who else may see it. One without a row here is from before accounts,
-- or its owner is gone: administrators see it.
CREATE TABLE analysis_owners (
    id           TEXT NOT NULL PRIMARY KEY,
    owner        TEXT NOT NULL,
    shared_role  TEXT,                       -- who has this role or a higher one; NULL: nobody by role
    shared_users TEXT NOT NULL DEFAULT '[]'  -- and these, as JSON
) STRICT;

CREATE TRIGGER session_deleted AFTER DELETE ON analysis_sessions BEGIN
    DELETE FROM analysis_owners WHERE id = old.id;
END;

-- Who is given the name later sees nothing of it.
CREATE TRIGGER user_deleted AFTER DELETE ON users BEGIN
    DELETE FROM analysis_owners WHERE owner = old.name;
    UPDATE analysis_owners SET shared_users = (SELECT json_group_array(value) FROM json_each(shared_users) WHERE value <> old.name);
END;
