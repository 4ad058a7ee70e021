-- What a reader of the outbox has to remember of what it has read, written together with how far it has come.
ALTER TABLE outbox_readers ADD COLUMN state TEXT NOT NULL DEFAULT '';
