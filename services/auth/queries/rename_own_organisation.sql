-- The organisation of their own is called as they are.
UPDATE organisations SET display_name = $2 WHERE org_id = $1 AND display_name = $3
