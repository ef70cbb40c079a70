-- Sums of an organisation over hours, by what is asked for. $4: 'hour', 'day', or '' for the whole time.
SELECT extract(epoch FROM CASE $4::text
           WHEN 'hour' THEN bucket
           WHEN 'day' THEN date_trunc('day', bucket, 'UTC')
           ELSE $2::timestamptz
       END)::bigint AS begin_s,
       CASE WHEN $5::boolean THEN model ELSE '' END AS model,
       CASE WHEN $6::boolean THEN api_key_id::text ELSE '' END AS api_key_id,
       CASE WHEN $7::boolean THEN user_id::text ELSE '' END AS user_id,
       CASE WHEN $8::boolean THEN route ELSE '' END AS route,
       CASE WHEN $9::boolean THEN provider ELSE '' END AS provider,
       '' AS tag_value,
       sum(requests)::bigint AS requests,
       sum(failures)::bigint AS failures,
       sum(cache_hits)::bigint AS cache_hits,
       sum(input_tokens)::bigint AS input_tokens,
       sum(output_tokens)::bigint AS output_tokens,
       sum(cost_nanos)::bigint AS cost_nanos,
       sum(unpriced_requests)::bigint AS unpriced_requests,
       sum(estimated_requests)::bigint AS estimated_requests
  FROM usage_hourly
 WHERE org_id = $1 AND bucket >= $2 AND bucket < $3
 GROUP BY 1, 2, 3, 4, 5, 6
 ORDER BY begin_s, cost_nanos DESC, model, api_key_id, user_id, route, provider
 LIMIT $10
