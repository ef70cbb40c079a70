-- What an author ($1) has published: the newest name, and counts over the oldest $2 posts, which bounds the work. No
-- row: nothing.
WITH counted AS MATERIALIZED (
    SELECT post_id, like_count, publish_time FROM posts
    WHERE author_id = $1 AND published_revision > 0
    ORDER BY post_id
    LIMIT $2
), newest AS (
    SELECT post_id, author_id, author_name FROM posts
    WHERE author_id = $1 AND published_revision > 0
    ORDER BY post_id DESC
    LIMIT 1
)
SELECT
    n.author_id, n.author_name, NOT EXISTS (SELECT FROM counted AS c WHERE c.post_id = n.post_id) AS more,
    (SELECT count(*) FROM counted) AS published_count,
    (SELECT sum(like_count)::bigint FROM counted) AS like_count,
    (SELECT min(publish_time) FROM counted) AS first_publish_time
FROM newest AS n
