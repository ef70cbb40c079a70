-- One post more today ($2) for subjects of an organisation ($1): their kinds and ids, in one order for everybody, so that
-- two that count the same never wait for each other in a circle. The rows stay locked: whoever goes beyond rolls back.
INSERT INTO post_counts AS c (org_id, kind, subject_id, day, posts)
SELECT $1, kind, subject_id, $2, 1
  FROM unnest($3::smallint[], $4::uuid[]) AS asked (kind, subject_id)
 ORDER BY kind, subject_id
    ON CONFLICT (org_id, kind, subject_id, day) DO UPDATE SET posts = c.posts + 1
RETURNING kind, posts
