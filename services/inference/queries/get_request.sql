SELECT
       id, request_id, org_id, user_id, api_key_id, service, surface, route, model, provider, config_version, streamed,
       (extract(epoch FROM begin_time) * 1000000)::bigint AS begin_us, duration_us, first_token_us, outcome, reason,
       finish_reason, attempts, cache, input_tokens, output_tokens, basis, cost_nanos, tags, input_text, output_text
  FROM requests
 WHERE id = $1 AND ($2::uuid IS NULL OR org_id = $2)
