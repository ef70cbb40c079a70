-- What it takes to erase a person. Only adds.

CREATE INDEX usage_tags_hourly_by_user ON usage_tags_hourly (user_id, bucket);

-- The first UUIDv7 of a moment: where records of a day begin.
CREATE FUNCTION first_uuid7(moment timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT AS $$
    SELECT (lpad(to_hex((extract(epoch FROM moment) * 1000)::bigint), 12, '0') || '70008000000000000000')::uuid
$$;

-- People and organisations that are gone (services/mesh/events/erasure.py), for a while: ids alone.
CREATE TABLE erasures (
    user_id    uuid NOT NULL, -- the nil UUID: an organisation alone
    org_id     uuid NOT NULL,
    erase_time timestamptz NOT NULL DEFAULT now(),
    again_time timestamptz NOT NULL,
    PRIMARY KEY (user_id, org_id)
);
