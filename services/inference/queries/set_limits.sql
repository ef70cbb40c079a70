INSERT INTO limits AS l (kind, subject_id, org_id, requests_per_minute, tokens_per_minute, concurrent_requests,
                         nanos_per_day, nanos_per_month, requests_per_day, output_tokens_per_request, version)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
    ON CONFLICT (kind, subject_id) DO UPDATE
   SET org_id = excluded.org_id,
       requests_per_minute = excluded.requests_per_minute,
       tokens_per_minute = excluded.tokens_per_minute,
       concurrent_requests = excluded.concurrent_requests,
       nanos_per_day = excluded.nanos_per_day,
       nanos_per_month = excluded.nanos_per_month,
       requests_per_day = excluded.requests_per_day,
       output_tokens_per_request = excluded.output_tokens_per_request,
       removed = false,
       version = excluded.version,
       update_time = now()
RETURNING *
