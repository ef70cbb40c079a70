WITH old AS (
    SELECT post_id
      FROM examples
     WHERE state > 2 AND update_time < now() - make_interval(days => $1)
     LIMIT 1000
       FOR UPDATE SKIP LOCKED
)
DELETE FROM examples AS e
 USING old
 WHERE e.post_id = old.post_id
RETURNING e.post_id
