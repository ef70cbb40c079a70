-- People whose roles or suspension changed since tokens that still run were made ($1, seconds), and those suspended.
SELECT user_id, roles, roles_change_time, suspend_time FROM users
 WHERE roles_change_time > now() - make_interval(secs => $1) OR suspend_time > now()
