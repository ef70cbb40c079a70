SELECT post_id, revision
  FROM examples
 WHERE holder = $1 AND state = 2
