-- All that are open or have access tokens that still run, but one ($2; null: none is spared), locked in one order.
UPDATE sessions SET end_time = clock_timestamp()
 WHERE session_id IN (
       SELECT session_id FROM sessions
        WHERE user_id = $1 AND end_time IS NULL AND greatest(refresh_expire_time, access_expire_time) > now()
          AND ($2::uuid IS NULL OR session_id <> $2)
        ORDER BY session_id
          FOR NO KEY UPDATE)
RETURNING session_id, org_id, access_expire_time
