-- As delete_post, for posts ($1) that are locked.
WITH revisions AS (
    DELETE FROM post_revisions WHERE post_id = ANY ($1::uuid[])
), tags AS (
    DELETE FROM published_tags AS t USING post_revisions AS r
     WHERE r.post_id = ANY ($1::uuid[]) AND t.post_id = r.post_id AND t.tag = ANY (r.tags)
), given AS (
    DELETE FROM likes WHERE post_id = ANY ($1::uuid[])
)
UPDATE posts
SET
    state = 5, version = version + 1, published_revision = 0, author_name = '', reasons = NULL, example_state = 0,
    example = NULL, like_count = 0, update_time = $2, delete_time = $2
WHERE post_id = ANY ($1::uuid[])
