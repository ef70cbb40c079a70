-- No row where nothing was set.
UPDATE limits
   SET requests_per_minute = NULL,
       tokens_per_minute = NULL,
       concurrent_requests = NULL,
       nanos_per_day = NULL,
       nanos_per_month = NULL,
       requests_per_day = NULL,
       output_tokens_per_request = NULL,
       removed = true,
       version = $3,
       update_time = now()
 WHERE kind = $1 AND subject_id = $2 AND NOT removed
RETURNING *
