-- What a process held that is gone, or that lost its lease.
WITH orphaned AS (
    SELECT post_id
      FROM examples AS e
     WHERE state = 2
       AND NOT EXISTS (SELECT FROM example_workers AS w WHERE w.incarnation = e.holder AND w.lease_time > now())
     LIMIT $2
       FOR UPDATE SKIP LOCKED
)
UPDATE examples AS e
   SET holder = $1, update_time = now()
  FROM orphaned
 WHERE e.post_id = orphaned.post_id
RETURNING e.post_id, e.org_id, e.revision, e.title, e.body, e.attempts, e.traceparent
