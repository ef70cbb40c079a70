-- Those opened by a method ($2, as in `methods`), but one ($3), locked in one order.
UPDATE sessions SET end_time = clock_timestamp()
 WHERE session_id IN (
       SELECT session_id FROM sessions
        WHERE user_id = $1 AND end_time IS NULL AND greatest(refresh_expire_time, access_expire_time) > now()
          AND $2 = ANY (methods) AND session_id <> $3
        ORDER BY session_id
          FOR NO KEY UPDATE)
RETURNING session_id, org_id, access_expire_time
