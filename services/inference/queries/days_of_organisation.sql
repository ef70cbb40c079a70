-- On which days an organisation ($1) has called.
SELECT DISTINCT org_id, date_trunc('day', bucket, 'UTC') AS day FROM usage_hourly WHERE org_id = $1
