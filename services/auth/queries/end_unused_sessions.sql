-- Ends the sessions of a person beyond $2, but one ($3), those that were not used for the longest time, locked in one order.
-- $4 how long a session lasts at most, in seconds.
UPDATE sessions SET end_time = clock_timestamp()
 WHERE session_id IN (
       SELECT session_id FROM sessions
        WHERE session_id IN (
              SELECT session_id FROM sessions
               WHERE user_id = $1 AND end_time IS NULL AND refresh_expire_time > now()
                 AND create_time > now() - make_interval(secs => $4) AND session_id <> $3
               ORDER BY coalesce(rotate_time, create_time) DESC, session_id DESC
              OFFSET $2)
        ORDER BY session_id
          FOR NO KEY UPDATE)
   AND end_time IS NULL
RETURNING session_id, org_id, access_expire_time
