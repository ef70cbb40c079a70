UPDATE sessions SET end_time = clock_timestamp()
 WHERE session_id = $1 AND end_time IS NULL
RETURNING session_id, org_id, access_expire_time
