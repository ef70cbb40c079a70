-- Up to $2 posts of an author ($1), locked.
SELECT post_id FROM posts WHERE author_id = $1 AND state <> 5 ORDER BY post_id LIMIT $2 FOR UPDATE
