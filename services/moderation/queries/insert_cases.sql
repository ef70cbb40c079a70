-- $1 case_ids uuid[], $2 org_ids uuid[], $3 post_ids uuid[], $4 revisions int[], $5 author_ids uuid[], $6 titles text[],
-- $7 bodies text[], $8 findings bytea[], $9 policy_versions bigint[].
INSERT INTO cases (case_id, org_id, post_id, revision, author_id, title, body, findings, policy_version)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::integer[], $5::uuid[], $6::text[], $7::text[], $8::bytea[],
                     $9::bigint[])
ON CONFLICT (post_id, revision) DO NOTHING
