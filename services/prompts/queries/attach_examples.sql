-- Finished examples, at most one a post: post ($1), revision ($2), state ($3), Example ($4); at $5. Counts only for the
-- revision that is published now and whose example is still being written. Answers which posts changed, and since
-- when they were shown without one.
WITH finished AS (
    SELECT f.post_id, f.revision, f.state, f.example
    FROM unnest($1::uuid[], $2::int[], $3::smallint[], $4::bytea[]) AS f (post_id, revision, state, example)
), locked AS MATERIALIZED (
    SELECT p.post_id, p.shown_time
    FROM posts AS p
    JOIN finished AS f ON f.post_id = p.post_id
    ORDER BY p.post_id
    FOR UPDATE OF p
)
UPDATE posts AS p
SET version = p.version + 1, example_state = f.state, example = f.example, update_time = $5, shown_time = $5
FROM finished AS f
JOIN locked ON locked.post_id = f.post_id
WHERE p.post_id = f.post_id AND p.published_revision = f.revision AND p.example_state = 1
RETURNING p.post_id, locked.shown_time AS since
