-- A thousand sums older than the retention.
DELETE FROM usage_hourly
 WHERE ctid = ANY (ARRAY(
           SELECT ctid FROM usage_hourly WHERE bucket < now() - make_interval(days => $1) ORDER BY bucket LIMIT 1000))
RETURNING 1
