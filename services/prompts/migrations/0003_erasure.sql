-- Names of authors who changed them, and what it takes to erase a person. Only adds.

-- The newest name of those who ever changed theirs: a token tells an older one for minutes.
CREATE TABLE author_names (
    user_id      uuid PRIMARY KEY,
    org_id       uuid NOT NULL,
    display_name text NOT NULL,
    version      bigint NOT NULL -- of the user in auth's events
);
CREATE INDEX likes_by_user ON likes (user_id);

-- People and organisations that are gone (services/mesh/events/erasure.py), for a while: ids alone.
CREATE TABLE erasures (
    user_id    uuid NOT NULL, -- the nil UUID: an organisation alone
    org_id     uuid NOT NULL,
    erase_time timestamptz NOT NULL DEFAULT now(),
    again_time timestamptz NOT NULL,
    PRIMARY KEY (user_id, org_id)
);
