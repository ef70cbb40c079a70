-- A page of what an author ($4) published, with a tag ($5; null: any): after $1, at most $2, for the caller $3.
SELECT r.*, EXISTS (SELECT FROM likes AS l WHERE l.post_id = r.post_id AND l.user_id = $3) AS liked
FROM post_records AS r
WHERE r.author_id = $4 AND r.published_revision > 0 AND r.post_id < $1
    AND ($5::text IS NULL OR $5 = ANY (coalesce(r.published_tags, r.tags)))
ORDER BY r.post_id DESC
LIMIT $2
