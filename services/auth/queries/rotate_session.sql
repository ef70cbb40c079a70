-- The next refresh token of a session whose row is locked: $2 its digest; $5 salt and $6 time of the rotation; $7, $8
-- from where.
UPDATE sessions
   SET previous_digest = refresh_digest, refresh_digest = $2, access_expire_time = $3, refresh_expire_time = $4,
       rotate_salt = $5, rotate_time = $6, device = $7, network = $8
 WHERE session_id = $1
