-- The next secret of a key: $2 its digest, $3 its prefix, $4 how long the one before stays good (seconds; 0: not at all).
-- Both expressions see the row as it was.
UPDATE api_keys
   SET digest = $2, prefix = $3, version = version + 1,
       previous_digest = CASE WHEN $4::int > 0 THEN digest END,
       previous_expire_time = CASE WHEN $4::int > 0 THEN least(now() + make_interval(secs => $4::int), expire_time) END
 WHERE api_key_id = $1
RETURNING *
