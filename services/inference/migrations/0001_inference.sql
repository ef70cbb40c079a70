-- Numbered snapshots of models.yaml; the highest is in force. Of the whole mesh, so there is no org_id.
CREATE TABLE config_versions (
    version     bigint PRIMARY KEY CHECK (version > 0),
    yaml        text NOT NULL,
    digest      bytea NOT NULL, -- SHA-256 of yaml
    author_id   uuid, -- null: the first start
    create_time timestamptz NOT NULL DEFAULT now()
);

-- The newest revision of each post that wants an example, and who writes it. Consumer groups do not order, so that an
-- older revision may arrive after a newer one, and a request after the deletion: this row is what they are held
-- against. A deleted post has the highest revision there is. Rows that are over are removed after some weeks, so the
-- table holds work, not history.
CREATE TABLE examples (
    post_id     uuid PRIMARY KEY,
    org_id      uuid NOT NULL,
    revision    integer NOT NULL CHECK (revision > 0),
    state       smallint NOT NULL CHECK (state BETWEEN 1 AND 4), -- 1 queued, 2 running, 3 finished, 4 cancelled
    holder      uuid, -- the incarnation (example_workers) that runs it
    attempts    smallint NOT NULL DEFAULT 0, -- that a provider failed
    run_time    timestamptz NOT NULL DEFAULT now(), -- queued: not before
    title       text NOT NULL, -- both are emptied when it is over
    body        text NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    update_time timestamptz NOT NULL DEFAULT now(),
    CHECK ((state = 2) = (holder IS NOT NULL))
);
CREATE INDEX examples_queued ON examples (run_time) WHERE state = 1;
CREATE INDEX examples_running ON examples (holder) WHERE state = 2;
CREATE INDEX examples_over ON examples (update_time) WHERE state > 2;

-- Processes that write examples. A process that starts anew takes its name's row with a new incarnation, so what the
-- one before it held is orphaned at once; what one that never comes back held, when its lease ends.
CREATE TABLE example_workers (
    worker      text PRIMARY KEY,
    incarnation uuid NOT NULL UNIQUE,
    lease_time  timestamptz NOT NULL
);

-- What examples cost a day (UTC), reservations included: what the daily cap is held against. The cap is the operator's,
-- over all organisations, so there is no org_id.
CREATE TABLE example_spend (
    day   date PRIMARY KEY,
    nanos bigint NOT NULL CHECK (nanos >= 0)
);

-- The largest cost of calls under way. Settling removes the row; of a process that died it stays, and its day keeps
-- the full amount.
CREATE TABLE example_reservations (
    id          uuid PRIMARY KEY,
    day         date NOT NULL,
    nanos       bigint NOT NULL CHECK (nanos >= 0),
    create_time timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX example_reservations_by_time ON example_reservations (create_time);
