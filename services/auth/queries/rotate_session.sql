UPDATE sessions
   SET refresh_digest = $2, access_expire_time = $3, refresh_expire_time = $4
 WHERE session_id = $1
