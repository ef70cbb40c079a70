-- People, newest first. $1 before user_id (null: from the newest), $2 limit.
SELECT * FROM users
 WHERE $1::uuid IS NULL OR user_id < $1
 ORDER BY user_id DESC
 LIMIT $2
