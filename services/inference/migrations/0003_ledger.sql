-- One row a call of a model: its receipt. Written in batches from the journals of the processes, so a row may come late,
-- and never twice. The nil UUID stands for no organisation, person or key.
CREATE TABLE requests (
    id             uuid PRIMARY KEY,
    org_id         uuid NOT NULL,
    user_id        uuid NOT NULL,
    api_key_id     uuid NOT NULL,
    begin_time     timestamptz NOT NULL,
    duration_us    bigint NOT NULL,
    first_token_us bigint,
    config_version bigint NOT NULL,
    cost_nanos     bigint CHECK (cost_nanos >= 0), -- null: the price is unknown
    input_tokens   integer NOT NULL CHECK (input_tokens >= 0),
    output_tokens  integer NOT NULL CHECK (output_tokens >= 0),
    surface        smallint NOT NULL, -- this and the next three: numbers of enums of promptmesh.inference.v1
    outcome        smallint NOT NULL,
    cache          smallint NOT NULL,
    basis          smallint NOT NULL,
    streamed       boolean NOT NULL,
    request_id     text NOT NULL,
    service        text NOT NULL,
    route          text NOT NULL,
    model          text NOT NULL,
    provider       text NOT NULL,
    reason         text NOT NULL,
    finish_reason  text NOT NULL,
    attempts       jsonb NOT NULL, -- [[model, provider, reason, duration_us, hedge], …]
    tags           jsonb NOT NULL,
    tags_other     jsonb, -- tags that are summed under another value, or not at all (null): there were too many
    input_text     text, -- this and the next: only where the operator keeps texts, redacted
    output_text    text
) PARTITION BY RANGE (id);
CREATE INDEX requests_by_org ON requests (org_id, id);
CREATE INDEX requests_by_request ON requests (request_id);
-- A worker sets the retention to what its settings say (ledger_retention_days).
SELECT mesh_partition_by_day('requests', 35);

-- Sums of `requests` by hour (UTC), made in the statement that writes them: what questions and budgets are answered
-- from. They outlive the rows. `failures`: failed and lost; `cost_nanos`: of calls with a known price.
CREATE TABLE usage_hourly (
    bucket             timestamptz NOT NULL,
    org_id             uuid NOT NULL,
    user_id            uuid NOT NULL,
    api_key_id         uuid NOT NULL,
    requests           bigint NOT NULL,
    failures           bigint NOT NULL,
    cache_hits         bigint NOT NULL,
    input_tokens       bigint NOT NULL,
    output_tokens      bigint NOT NULL,
    cost_nanos         bigint NOT NULL,
    unpriced_requests  bigint NOT NULL,
    estimated_requests bigint NOT NULL,
    route              text NOT NULL,
    model              text NOT NULL,
    provider           text NOT NULL,
    PRIMARY KEY (org_id, bucket, user_id, api_key_id, route, model, provider)
) WITH (fillfactor = 50); -- the rows of the hour are updated in place
CREATE INDEX usage_hourly_by_time ON usage_hourly (bucket);
CREATE INDEX usage_hourly_by_user ON usage_hourly (user_id, bucket);
CREATE INDEX usage_hourly_by_key ON usage_hourly (api_key_id, bucket);

-- The same by tag: a call counts once in each of its tags.
CREATE TABLE usage_tags_hourly (
    bucket             timestamptz NOT NULL,
    org_id             uuid NOT NULL,
    user_id            uuid NOT NULL,
    api_key_id         uuid NOT NULL,
    requests           bigint NOT NULL,
    failures           bigint NOT NULL,
    cache_hits         bigint NOT NULL,
    input_tokens       bigint NOT NULL,
    output_tokens      bigint NOT NULL,
    cost_nanos         bigint NOT NULL,
    unpriced_requests  bigint NOT NULL,
    estimated_requests bigint NOT NULL,
    tag_key            text NOT NULL,
    tag_value          text NOT NULL,
    route              text NOT NULL,
    model              text NOT NULL,
    provider           text NOT NULL,
    PRIMARY KEY (org_id, tag_key, bucket, tag_value, user_id, api_key_id, route, model, provider)
) WITH (fillfactor = 50);
CREATE INDEX usage_tags_hourly_by_time ON usage_tags_hourly (bucket);
