-- Sessions that ended while tokens of theirs still run ($1: for so many seconds after those ended).
SELECT session_id, access_expire_time FROM sessions
 WHERE end_time IS NOT NULL AND access_expire_time > now() - make_interval(secs => $1)
