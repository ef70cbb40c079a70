-- Up to $2 likes of a person ($1), and their counts. Posts are locked first, in one order, as everywhere. Answers which.
WITH liked AS MATERIALIZED (
    SELECT p.post_id FROM posts AS p
     WHERE p.post_id IN (SELECT post_id FROM likes WHERE user_id = $1 ORDER BY post_id LIMIT $2)
     ORDER BY p.post_id
       FOR UPDATE
), removed AS (
    DELETE FROM likes AS l USING liked WHERE l.post_id = liked.post_id AND l.user_id = $1
    RETURNING l.post_id
), counted AS (
    UPDATE posts AS p SET like_count = p.like_count - 1 FROM removed WHERE p.post_id = removed.post_id
)
SELECT post_id FROM removed
