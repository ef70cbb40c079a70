-- Remembers that posts are gone, also those never heard of. $1 post_ids uuid[], $2 org_ids uuid[].
INSERT INTO subjects AS s (post_id, org_id, revision, deleted)
SELECT p, o, 0, true FROM unnest($1::uuid[], $2::uuid[]) AS gone (p, o)
ON CONFLICT (post_id) DO UPDATE SET deleted = true
