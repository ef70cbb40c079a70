-- A page of the feed: after $1, at most $2, for the caller $3.
SELECT r.*, EXISTS (SELECT FROM likes AS l WHERE l.post_id = r.post_id AND l.user_id = $3) AS liked
FROM post_records AS r
WHERE r.published_revision > 0 AND r.post_id < $1
ORDER BY r.post_id DESC
LIMIT $2
