-- All that are open or have access tokens that still run, but one ($2; null: none is spared).
UPDATE sessions SET end_time = clock_timestamp()
 WHERE user_id = $1 AND end_time IS NULL AND greatest(refresh_expire_time, access_expire_time) > now()
   AND ($2::uuid IS NULL OR session_id <> $2)
RETURNING session_id, org_id, access_expire_time
