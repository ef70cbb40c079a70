SELECT post_id, org_id, revision, title, body, attempts, traceparent
  FROM examples
 WHERE post_id = ANY ($2::uuid[]) AND holder = $1 AND state = 2
