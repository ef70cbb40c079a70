-- A new post, its first revision and its event: one statement, one round trip, one transaction.
-- The name is the newest that auth told of, where that is not the one of the caller's token.
-- Answers whether it was made; not, where its author used the request_id before.
WITH post AS (
    INSERT INTO posts (
        post_id, org_id, author_id, author_name, version, revision, state, request_id, request_digest,
        create_time, update_time
    )
    VALUES (
        $1, $2, $3, coalesce((SELECT a.display_name FROM author_names AS a WHERE a.user_id = $3), $4), 1, 1, 1, $5, $6, $7,
        $7
    )
    ON CONFLICT (author_id, request_id) WHERE request_id IS NOT NULL DO NOTHING
    RETURNING post_id
), revision AS (
    INSERT INTO post_revisions (post_id, revision, org_id, title, body, tags, create_time)
    SELECT post_id, 1, $2, $8, $9, $10, $7 FROM post
), event AS (
    INSERT INTO outbox (id, org_id, aggregate_id, partition, type, envelope)
    SELECT $11, $12, $13, $14, $15, $16 FROM post
)
SELECT EXISTS (SELECT FROM post) AS made
