-- API keys that a person ($1) who is gone has called with.
SELECT DISTINCT api_key_id FROM usage_hourly
 WHERE user_id = $1 AND api_key_id <> '00000000-0000-0000-0000-000000000000'
