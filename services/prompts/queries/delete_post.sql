-- Leaves a tombstone of a post whose row is locked. Answers its version.
WITH revisions AS (
    DELETE FROM post_revisions WHERE post_id = $1 RETURNING tags
), tags AS (
    DELETE FROM published_tags AS t USING revisions AS r WHERE t.post_id = $1 AND t.tag = ANY (r.tags)
), given AS (
    DELETE FROM likes WHERE post_id = $1
)
UPDATE posts
SET
    state = 5, version = version + 1, published_revision = 0, author_name = '', reasons = NULL, example_state = 0,
    example = NULL, like_count = 0, update_time = $2, delete_time = $2
WHERE post_id = $1
RETURNING version
