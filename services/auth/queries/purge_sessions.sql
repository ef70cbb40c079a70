-- Up to 1000 sessions that nobody can use any more, after the retention ($1, seconds).
WITH gone AS (
    SELECT session_id FROM sessions
     WHERE refresh_expire_time < now() - make_interval(secs => $1)
        OR (end_time IS NOT NULL AND access_expire_time < now() - make_interval(secs => $1))
     LIMIT 1000
       FOR UPDATE SKIP LOCKED
)
DELETE FROM sessions USING gone WHERE sessions.session_id = gone.session_id
RETURNING sessions.session_id
