-- What agents tell each other of their bans. Signed by a key that the database does not know; rows are inserted
-- under a lock, so that their numbers become visible in their order. Deleted when the ban is over.
CREATE TABLE palisade.fleet_messages (
    number     bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    posted_at  timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    body       text        NOT NULL,
    mac        text        NOT NULL
);

CREATE INDEX fleet_messages_by_end ON palisade.fleet_messages (expires_at);
