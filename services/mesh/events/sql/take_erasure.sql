-- One that is due again, which is then due again in $1 seconds.
UPDATE erasures SET again_time = now() + make_interval(secs => $1)
 WHERE (user_id, org_id) = (SELECT user_id, org_id FROM erasures WHERE again_time <= now() ORDER BY again_time LIMIT 1
                               FOR UPDATE SKIP LOCKED)
RETURNING user_id, org_id
