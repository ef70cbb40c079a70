UPDATE sessions SET end_time = clock_timestamp()
 WHERE user_id = $1 AND session_id <> $2 AND end_time IS NULL AND refresh_expire_time > now()
RETURNING session_id, org_id, access_expire_time
