-- Keys in force of a person, and of whoever acts for the organisation of their own ($2).
SELECT count(*) FROM api_keys
 WHERE (user_id = $1 OR org_id = $2) AND revoke_time IS NULL AND (expire_time IS NULL OR expire_time > now())
