-- A person's open sessions, the last used first. $2, $3 after which (last use, session_id; null: from the first), $4 limit;
-- $5 how long a session lasts at most, in seconds.
SELECT *, coalesce(rotate_time, create_time) AS last_use_time FROM sessions
 WHERE user_id = $1 AND end_time IS NULL AND refresh_expire_time > now()
   AND create_time > now() - make_interval(secs => $5)
   AND ($2::timestamptz IS NULL OR (coalesce(rotate_time, create_time), session_id) < ($2, $3::uuid))
 ORDER BY coalesce(rotate_time, create_time) DESC, session_id DESC
 LIMIT $4
