-- A page of an author's ($3) own posts in an organisation ($5), in some states ($6; null: any), with a tag on the latest
-- revision ($4; null: any): after $1, at most $2.
SELECT r.*, EXISTS (SELECT FROM likes AS l WHERE l.post_id = r.post_id AND l.user_id = $3) AS liked
FROM post_records AS r
WHERE r.author_id = $3 AND r.org_id = $5 AND r.post_id < $1 AND ($4::text IS NULL OR $4 = ANY (r.tags))
    AND ($6::smallint[] IS NULL OR r.state = ANY ($6))
ORDER BY r.post_id DESC
LIMIT $2
