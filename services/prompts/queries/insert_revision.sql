-- The next revision of a post whose row is locked; it waits for moderation, the published one stays.
WITH revision AS (
    INSERT INTO post_revisions (post_id, revision, org_id, title, body, tags, create_time)
    SELECT post_id, revision + 1, org_id, $2, $3, $4, $5 FROM posts WHERE post_id = $1
)
UPDATE posts SET revision = revision + 1, version = version + 1, state = 1, reasons = NULL, update_time = $5
WHERE post_id = $1
