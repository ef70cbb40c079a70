DELETE FROM organisations WHERE org_id = $1
