WITH gone AS (
    DELETE FROM dead_letters
     WHERE ($1::text IS NULL OR consumer = $1) AND event_id = ANY ($2::uuid[])
    RETURNING event_id
)
SELECT count(*) FROM gone
