-- Whom the operator never wants blocked is told to other stores, so that a lost database does not lose it.

CREATE TRIGGER allow_added AFTER INSERT ON allow BEGIN
    INSERT INTO outbox (kind, id, at) VALUES ('allow', new.network, new.created_at);
END;

CREATE TRIGGER allow_changed AFTER UPDATE ON allow BEGIN
    INSERT INTO outbox (kind, id, at) VALUES ('allow', new.network, new.created_at);
END;

CREATE TRIGGER allow_removed AFTER DELETE ON allow BEGIN
    INSERT INTO outbox (kind, id, at) VALUES ('allow', old.network, old.created_at);
END;
