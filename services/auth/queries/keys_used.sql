-- Says that keys were used just now; a key is written at most once a minute, by whichever service says it first.
UPDATE api_keys SET last_use_time = now()
 WHERE api_key_id = ANY ($1::uuid[]) AND (last_use_time IS NULL OR last_use_time < now() - interval '60 seconds')
