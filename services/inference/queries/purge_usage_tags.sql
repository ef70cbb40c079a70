-- A thousand sums by tag older than the retention.
DELETE FROM usage_tags_hourly
 WHERE ctid = ANY (ARRAY(
           SELECT ctid FROM usage_tags_hourly WHERE bucket < now() - make_interval(days => $1) ORDER BY bucket LIMIT 1000))
RETURNING 1
