SELECT post_id, org_id, revision, title, body, attempts
  FROM examples
 WHERE post_id = ANY ($2::uuid[]) AND holder = $1 AND state = 2
