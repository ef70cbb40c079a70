-- A like of a published post and its count. The post's row is locked first, as in unlike_post and by a delete: nobody
-- waits for a like while holding the post. Answers whether the post can be liked.
WITH post AS MATERIALIZED (
    SELECT post_id FROM posts WHERE post_id = $1 AND published_revision > 0 FOR UPDATE
), added AS (
    INSERT INTO likes (post_id, user_id, org_id, create_time)
    SELECT post_id, $2, $3, $4 FROM post
    ON CONFLICT (post_id, user_id) DO NOTHING
    RETURNING post_id
), counted AS (
    UPDATE posts AS p SET like_count = p.like_count + 1 FROM added WHERE p.post_id = added.post_id
)
SELECT EXISTS (SELECT FROM post)
