UPDATE users
   SET roles = $2, roles_change_time = clock_timestamp(), version = version + 1
 WHERE user_id = $1
RETURNING *
