-- One more access token of a session, beside the refresh token that it has.
UPDATE sessions SET access_expire_time = greatest(access_expire_time, $2) WHERE session_id = $1
