-- People whose roles changed since tokens that still run were made ($1, seconds).
SELECT user_id, roles, roles_change_time FROM users
 WHERE roles_change_time > now() - make_interval(secs => $1)
