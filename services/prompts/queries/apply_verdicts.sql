-- Moderation's verdicts, at most one a post: post ($1), revision ($2), state ($3), reasons ($4); at $5, with an example
-- that begins as $6. A verdict counts only for the very revision that was screened, while that still waits: this
-- condition is what keeps the unscreened unseen. Rows are locked in one order everywhere, so that batches cannot
-- deadlock. Answers which posts changed, and since when they waited.
WITH verdict AS (
    SELECT v.post_id, v.revision, v.state, v.reasons
    FROM unnest($1::uuid[], $2::int[], $3::smallint[], $4::text[]) AS v (post_id, revision, state, reasons)
), locked AS MATERIALIZED (
    SELECT p.post_id, p.update_time
    FROM posts AS p
    JOIN verdict AS v ON v.post_id = p.post_id
    ORDER BY p.post_id
    FOR UPDATE OF p
)
UPDATE posts AS p
SET
    version = p.version + 1,
    state = v.state,
    reasons = v.reasons::jsonb,
    update_time = $5,
    published_revision = CASE WHEN v.state = 2 THEN v.revision ELSE p.published_revision END,
    publish_time = CASE WHEN v.state = 2 THEN coalesce(p.publish_time, $5) ELSE p.publish_time END,
    shown_time = CASE WHEN v.state = 2 THEN $5 ELSE p.shown_time END,
    example_state = CASE WHEN v.state = 2 THEN 1 ELSE p.example_state END,
    example = CASE WHEN v.state = 2 THEN $6 ELSE p.example END
FROM verdict AS v
JOIN locked ON locked.post_id = v.post_id
WHERE p.post_id = v.post_id AND p.revision = v.revision AND p.state IN (1, 3) AND p.state <> v.state
RETURNING p.post_id, locked.update_time AS since
