-- What the gate must still know of a ban that it holds when the daemon starts again.
ALTER TABLE decisions ADD COLUMN via_proxy INTEGER NOT NULL DEFAULT 0; -- came through a trusted proxy
ALTER TABLE decisions ADD COLUMN was_served INTEGER NOT NULL DEFAULT 0; -- served well before: perhaps a visitor
