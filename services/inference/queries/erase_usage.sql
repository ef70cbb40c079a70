-- Sums of a person ($1) who is gone go on as sums of nobody, so that those of organisations stay right.
WITH gone AS (
    DELETE FROM usage_hourly WHERE user_id = $1 RETURNING *
)
INSERT INTO usage_hourly AS u (
    bucket, org_id, user_id, api_key_id, route, model, provider, requests, failures, cache_hits, input_tokens,
    output_tokens, cost_nanos, unpriced_requests, estimated_requests)
SELECT bucket, org_id, '00000000-0000-0000-0000-000000000000', '00000000-0000-0000-0000-000000000000', route, model,
       provider, sum(requests), sum(failures), sum(cache_hits), sum(input_tokens), sum(output_tokens), sum(cost_nanos),
       sum(unpriced_requests), sum(estimated_requests)
  FROM gone
 GROUP BY bucket, org_id, route, model, provider
 ORDER BY bucket, org_id, route, model, provider
    ON CONFLICT (org_id, bucket, user_id, api_key_id, route, model, provider) DO UPDATE
   SET requests = u.requests + excluded.requests,
       failures = u.failures + excluded.failures,
       cache_hits = u.cache_hits + excluded.cache_hits,
       input_tokens = u.input_tokens + excluded.input_tokens,
       output_tokens = u.output_tokens + excluded.output_tokens,
       cost_nanos = u.cost_nanos + excluded.cost_nanos,
       unpriced_requests = u.unpriced_requests + excluded.unpriced_requests,
       estimated_requests = u.estimated_requests + excluded.estimated_requests
