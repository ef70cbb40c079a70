-- Receipts, oldest first. Of the organisation's records between two ids ($2 and $3) at most $4 are looked at,
-- so that a rare one does not cost a search through all; those that fit come back, at most $14.
SELECT
       id, request_id, org_id, user_id, api_key_id, service, surface, route, model, provider, config_version, streamed,
       (extract(epoch FROM begin_time) * 1000000)::bigint AS begin_us, duration_us, first_token_us, outcome, reason,
       finish_reason, attempts, cache, input_tokens, output_tokens, basis, cost_nanos, tags, input_text, output_text
  FROM (SELECT * FROM requests WHERE org_id = $1 AND id > $2 AND id < $3 ORDER BY id ASC LIMIT $4) AS looked_at
 WHERE begin_time >= to_timestamp($5::bigint / 1e6) AND begin_time < to_timestamp($6::bigint / 1e6)
   AND ($7::uuid IS NULL OR user_id = $7)
   AND ($8::uuid IS NULL OR api_key_id = $8)
   AND ($9::text IS NULL OR model = $9)
   AND ($10::text IS NULL OR route = $10)
   AND ($11::smallint IS NULL OR outcome = $11)
   AND ($12::text IS NULL OR (tags ? $12 AND ($13::text IS NULL OR tags ->> $12 = $13)))
 ORDER BY id ASC
 LIMIT $14
