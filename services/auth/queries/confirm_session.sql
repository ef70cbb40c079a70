-- A session whose row is locked has proved who it is ($2 when); $3 when the access token of it ends.
UPDATE sessions
   SET auth_time = $2, access_expire_time = greatest(access_expire_time, $3), proofs_tried = 0
 WHERE session_id = $1
