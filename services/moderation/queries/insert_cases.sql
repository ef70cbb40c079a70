-- $1 case_ids uuid[], $2 org_ids uuid[], $3 post_ids uuid[], $4 revisions int[], $5 author_ids uuid[], $6 titles text[],
-- $7 bodies text[], $8 tags text[] (a JSON list each), $9 author_names text[], $10 findings bytea[],
-- $11 policy_versions bigint[].
INSERT INTO cases (
    case_id, org_id, post_id, revision, author_id, title, body, author_name, findings, policy_version, tags
)
SELECT c.case_id, c.org_id, c.post_id, c.revision, c.author_id, c.title, c.body, c.author_name, c.findings,
       c.policy_version, ARRAY(SELECT jsonb_array_elements_text(c.tags::jsonb))
FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::integer[], $5::uuid[], $6::text[], $7::text[], $8::text[],
            $9::text[], $10::bytea[], $11::bigint[])
    AS c (case_id, org_id, post_id, revision, author_id, title, body, tags, author_name, findings, policy_version)
ON CONFLICT (post_id, revision) DO NOTHING
