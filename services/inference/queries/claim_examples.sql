WITH waiting AS (
    SELECT post_id
      FROM examples
     WHERE state = 1 AND run_time <= now()
     ORDER BY run_time
     LIMIT $2
       FOR UPDATE SKIP LOCKED
)
UPDATE examples AS e
   SET state = 2, holder = $1, update_time = now()
  FROM waiting
 WHERE e.post_id = waiting.post_id
RETURNING e.post_id, e.org_id, e.revision, e.title, e.body, e.attempts, e.traceparent
