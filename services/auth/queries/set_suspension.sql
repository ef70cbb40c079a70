-- $2 until when (null: not suspended), $3 why. Whoever suspends again replaces both.
UPDATE users
   SET suspend_time = $2, suspend_reason = $3, roles_change_time = clock_timestamp(), version = version + 1
 WHERE user_id = $1
RETURNING *, clock_timestamp() AS moment
