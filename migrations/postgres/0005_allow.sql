-- Networks that an agent's operator never wants blocked: what a host that lost its database takes up again.
CREATE TABLE palisade.allow (
    agent      text        NOT NULL,
    network    cidr        NOT NULL,
    note       text        NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (agent, network)
);
