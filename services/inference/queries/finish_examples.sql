UPDATE examples AS e
   SET state = 3, holder = NULL, title = '', body = '', traceparent = '', update_time = now()
  FROM unnest($2::uuid[], $3::integer[]) AS done (post_id, revision)
 WHERE e.post_id = done.post_id AND e.revision = done.revision AND e.holder = $1 AND e.state = 2
RETURNING e.post_id
