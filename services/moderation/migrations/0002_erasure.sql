-- What it takes to erase a person. Only adds.

CREATE INDEX cases_by_author ON cases (author_id);

-- People and organisations that are gone (services/mesh/events/erasure.py), for a while: ids alone.
CREATE TABLE erasures (
    user_id    uuid NOT NULL, -- the nil UUID: an organisation alone
    org_id     uuid NOT NULL,
    erase_time timestamptz NOT NULL DEFAULT now(),
    again_time timestamptz NOT NULL,
    PRIMARY KEY (user_id, org_id)
);
