-- Remembers the newest revision of each post and answers it, with whether the post is gone.
-- $1 post_ids uuid[], $2 org_ids uuid[], $3 revisions int[]; each post at most once.
INSERT INTO subjects AS s (post_id, org_id, revision)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::integer[])
ON CONFLICT (post_id) DO UPDATE SET revision = greatest(s.revision, excluded.revision)
RETURNING s.post_id, s.revision, s.deleted
