-- Where a person ($1) who is gone has called from, by organisation and day (UTC): what the sums tell.
SELECT DISTINCT org_id, date_trunc('day', bucket, 'UTC') AS day FROM usage_hourly WHERE user_id = $1
