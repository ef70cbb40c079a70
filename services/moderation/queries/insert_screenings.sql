-- $1 ids uuid[], $2 org_ids uuid[], $3 post_ids uuid[], $4 revisions int[], $5 verdicts int[], $6 policy_versions bigint[],
-- $7 findings bytea[].
INSERT INTO screenings (id, org_id, post_id, revision, verdict, policy_version, findings)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::integer[], $5::integer[], $6::bigint[], $7::bytea[])
