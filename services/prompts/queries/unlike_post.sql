-- Takes a like back, and its count; see like_post.
WITH post AS MATERIALIZED (
    SELECT post_id FROM posts WHERE post_id = $1 AND published_revision > 0 FOR UPDATE
), removed AS (
    DELETE FROM likes AS l USING post WHERE l.post_id = post.post_id AND l.user_id = $2
    RETURNING l.post_id
), counted AS (
    UPDATE posts AS p SET like_count = p.like_count - 1 FROM removed WHERE p.post_id = removed.post_id
)
SELECT EXISTS (SELECT FROM post)
