-- Records of calls, each once however often it comes, and with those that are new the sums by hour. Rows are written in
-- the order of their keys, so that two processes that write the same sums never wait for each other in a circle.
WITH added AS (
    INSERT INTO requests (
        id, org_id, user_id, api_key_id, begin_time, duration_us, first_token_us, config_version, cost_nanos,
        input_tokens, output_tokens, surface, outcome, cache, basis, streamed, request_id, service, route, model,
        provider, reason, finish_reason, attempts, tags, tags_other, input_text, output_text)
    SELECT id::uuid, org_id::uuid, user_id::uuid, api_key_id::uuid, to_timestamp(begin_us / 1e6), duration_us,
           first_token_us, config_version, cost_nanos, input_tokens, output_tokens, surface, outcome, cache, basis,
           streamed, request_id, service, route, model, provider, reason, finish_reason, attempts::jsonb, tags::jsonb,
           tags_other::jsonb, input_text, output_text
      FROM unnest(
               $1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[],
               $9::bigint[], $10::integer[], $11::integer[], $12::smallint[], $13::smallint[], $14::smallint[],
               $15::smallint[], $16::boolean[], $17::text[], $18::text[], $19::text[], $20::text[], $21::text[],
               $22::text[], $23::text[], $24::text[], $25::text[], $26::text[], $27::text[], $28::text[])
           AS given (
               id, org_id, user_id, api_key_id, begin_us, duration_us, first_token_us, config_version, cost_nanos,
               input_tokens, output_tokens, surface, outcome, cache, basis, streamed, request_id, service, route,
               model, provider, reason, finish_reason, attempts, tags, tags_other, input_text, output_text)
     ORDER BY id
        ON CONFLICT (id) DO NOTHING
    RETURNING date_trunc('hour', begin_time, 'UTC') AS bucket, org_id, user_id, api_key_id, route, model, provider,
              outcome, cache, basis, input_tokens, output_tokens, cost_nanos, tags, tags_other
), summed AS (
    INSERT INTO usage_hourly AS u (
        bucket, org_id, user_id, api_key_id, route, model, provider, requests, failures, cache_hits, input_tokens,
        output_tokens, cost_nanos, unpriced_requests, estimated_requests)
    SELECT bucket, org_id, user_id, api_key_id, route, model, provider,
           count(*),
           count(*) FILTER (WHERE outcome IN (3, 5)), -- failed, lost
           count(*) FILTER (WHERE cache IN (3, 4)), -- hit, joined
           sum(input_tokens), sum(output_tokens), coalesce(sum(cost_nanos), 0)::bigint,
           count(*) FILTER (WHERE cost_nanos IS NULL),
           count(*) FILTER (WHERE basis = 2) -- estimated
      FROM added
     GROUP BY bucket, org_id, user_id, api_key_id, route, model, provider
     ORDER BY bucket, org_id, user_id, api_key_id, route, model, provider
        ON CONFLICT (org_id, bucket, user_id, api_key_id, route, model, provider) DO UPDATE
       SET requests = u.requests + excluded.requests,
           failures = u.failures + excluded.failures,
           cache_hits = u.cache_hits + excluded.cache_hits,
           input_tokens = u.input_tokens + excluded.input_tokens,
           output_tokens = u.output_tokens + excluded.output_tokens,
           cost_nanos = u.cost_nanos + excluded.cost_nanos,
           unpriced_requests = u.unpriced_requests + excluded.unpriced_requests,
           estimated_requests = u.estimated_requests + excluded.estimated_requests
), tagged AS (
    INSERT INTO usage_tags_hourly AS u (
        bucket, org_id, tag_key, tag_value, user_id, api_key_id, route, model, provider, requests, failures,
        cache_hits, input_tokens, output_tokens, cost_nanos, unpriced_requests, estimated_requests)
    SELECT bucket, org_id, tag.key, value, user_id, api_key_id, route, model, provider,
           count(*),
           count(*) FILTER (WHERE outcome IN (3, 5)),
           count(*) FILTER (WHERE cache IN (3, 4)),
           sum(input_tokens), sum(output_tokens), coalesce(sum(cost_nanos), 0)::bigint,
           count(*) FILTER (WHERE cost_nanos IS NULL),
           count(*) FILTER (WHERE basis = 2)
      FROM added,
           jsonb_each_text(tags) AS tag (key, given),
           LATERAL (
               SELECT CASE WHEN tags_other ? tag.key THEN tags_other ->> tag.key ELSE tag.given END
           ) AS summed_under (value)
     WHERE value IS NOT NULL
     GROUP BY bucket, org_id, tag.key, value, user_id, api_key_id, route, model, provider
     ORDER BY bucket, org_id, tag.key, value, user_id, api_key_id, route, model, provider
        ON CONFLICT (org_id, tag_key, bucket, tag_value, user_id, api_key_id, route, model, provider) DO UPDATE
       SET requests = u.requests + excluded.requests,
           failures = u.failures + excluded.failures,
           cache_hits = u.cache_hits + excluded.cache_hits,
           input_tokens = u.input_tokens + excluded.input_tokens,
           output_tokens = u.output_tokens + excluded.output_tokens,
           cost_nanos = u.cost_nanos + excluded.cost_nanos,
           unpriced_requests = u.unpriced_requests + excluded.unpriced_requests,
           estimated_requests = u.estimated_requests + excluded.estimated_requests
)
SELECT count(*) FROM added
