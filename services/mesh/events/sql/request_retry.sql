WITH asked AS (
    UPDATE dead_letters
       SET retry_requested = now()
     WHERE ($1::text IS NULL OR consumer = $1) AND ($2::uuid[] IS NULL OR event_id = ANY ($2))
    RETURNING event_id
)
SELECT count(*) FROM asked
