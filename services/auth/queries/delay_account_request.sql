-- After a failure: again in $2 seconds. Answers how often it failed.
UPDATE account_requests SET attempts = attempts + 1, next_time = now() + make_interval(secs => $2)
 WHERE request_id = $1
RETURNING attempts
