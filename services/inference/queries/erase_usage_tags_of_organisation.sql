DELETE FROM usage_tags_hourly WHERE org_id = $1
