-- The newest revision of each post that moderation has heard of. Consumer groups do not order, so that an older
-- revision may arrive after a newer one, and a submission after the deletion: this row is what they are held against.
CREATE TABLE subjects (
    post_id  uuid PRIMARY KEY,
    org_id   uuid NOT NULL,
    revision integer NOT NULL CHECK (revision >= 0),
    deleted  boolean NOT NULL DEFAULT false
);

-- What the policy said of each revision: kept for audits, without the text. Grows; a day a partition, a year long.
CREATE TABLE screenings (
    id             uuid NOT NULL PRIMARY KEY,
    org_id         uuid NOT NULL,
    post_id        uuid NOT NULL,
    revision       integer NOT NULL,
    verdict        smallint NOT NULL CHECK (verdict BETWEEN 1 AND 3),
    policy_version bigint NOT NULL,
    findings       bytea NOT NULL, -- serialized promptmesh.moderation.v1.Screening, without categories
    create_time    timestamptz NOT NULL DEFAULT now()
) PARTITION BY RANGE (id);
CREATE INDEX screenings_by_post ON screenings (post_id, revision);
SELECT mesh_partition_by_day('screenings', 365);

-- Texts that a person must decide about, or has.
CREATE TABLE cases (
    case_id        uuid PRIMARY KEY,
    org_id         uuid NOT NULL,
    post_id        uuid NOT NULL,
    revision       integer NOT NULL,
    author_id      uuid NOT NULL,
    title          text NOT NULL,
    body           text NOT NULL,
    tags           text[] NOT NULL,
    author_name    text NOT NULL,
    findings       bytea NOT NULL, -- serialized promptmesh.moderation.v1.Screening, without categories
    policy_version bigint NOT NULL,
    state          smallint NOT NULL DEFAULT 1 CHECK (state BETWEEN 1 AND 3), -- CaseState
    decision       smallint NOT NULL DEFAULT 0 CHECK (decision IN (0, 1, 3)), -- Verdict
    note           text NOT NULL DEFAULT '',
    public_reason  text NOT NULL DEFAULT '',
    resolver_id    uuid,
    create_time    timestamptz NOT NULL DEFAULT now(),
    resolve_time   timestamptz,
    UNIQUE (post_id, revision),
    CHECK ((state = 1) = (resolve_time IS NULL)),
    CHECK ((state = 2) = (decision <> 0))
);
CREATE INDEX cases_by_state ON cases (state, case_id);

-- Numbered snapshots of the policy; the highest is in force.
CREATE TABLE policies (
    version     bigint PRIMARY KEY CHECK (version > 0),
    yaml        text NOT NULL,
    author_id   uuid, -- null: it came with the release
    create_time timestamptz NOT NULL DEFAULT now()
);
