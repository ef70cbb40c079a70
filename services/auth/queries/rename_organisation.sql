UPDATE organisations SET display_name = $2 WHERE org_id = $1
