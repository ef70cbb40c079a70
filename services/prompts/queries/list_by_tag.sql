-- A page of what is published under a tag ($4): after $1, at most $2, for the caller $3.
SELECT r.*, EXISTS (SELECT FROM likes AS l WHERE l.post_id = r.post_id AND l.user_id = $3) AS liked
FROM published_tags AS t
JOIN post_records AS r ON r.post_id = t.post_id
WHERE t.tag = $4 AND t.post_id < $1
ORDER BY t.post_id DESC
LIMIT $2
