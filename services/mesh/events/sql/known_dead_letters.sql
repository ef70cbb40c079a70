SELECT DISTINCT event_id
  FROM dead_letters
 WHERE ($1::text IS NULL OR consumer = $1) AND event_id = ANY ($2::uuid[])
