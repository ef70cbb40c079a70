-- Limits that an administrator set for an API key, a person or an organisation; where nothing is set, the defaults of
-- the configuration hold. Null: no limit of this kind was set. What is removed stays as a row without limits, so that
-- every process learns of it by its version.
CREATE TABLE limits (
    kind                      smallint NOT NULL CHECK (kind BETWEEN 1 AND 3), -- promptmesh.inference.v1.LimitKind
    subject_id                uuid NOT NULL,
    org_id                    uuid NOT NULL, -- of the administrator who set them; for an organisation, its own
    requests_per_minute       bigint CHECK (requests_per_minute >= 0),
    tokens_per_minute         bigint CHECK (tokens_per_minute >= 0),
    concurrent_requests       bigint CHECK (concurrent_requests >= 0),
    nanos_per_day             bigint CHECK (nanos_per_day >= 0), -- nano-US-dollars, UTC day
    nanos_per_month           bigint CHECK (nanos_per_month >= 0), -- nano-US-dollars, UTC month
    requests_per_day          bigint CHECK (requests_per_day >= 0), -- UTC day
    output_tokens_per_request integer CHECK (output_tokens_per_request > 0),
    removed                   boolean NOT NULL DEFAULT false,
    version                   bigint NOT NULL, -- of limits_version, when the row was last written
    update_time               timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (kind, subject_id)
);
CREATE INDEX limits_by_version ON limits (version);

-- One row: how often limits were changed. Its lock makes the order of versions the order of commits, so that a process
-- that has seen a version has seen all before it.
CREATE TABLE limits_version (
    one     boolean PRIMARY KEY DEFAULT true CHECK (one),
    version bigint NOT NULL
);
INSERT INTO limits_version (version) VALUES (0);
