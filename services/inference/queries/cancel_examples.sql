INSERT INTO examples (post_id, org_id, revision, state, title, body)
SELECT post_id, org_id, 2147483647, 4, '', ''
  FROM unnest($1::uuid[], $2::uuid[]) AS gone (post_id, org_id)
    ON CONFLICT (post_id) DO UPDATE
   SET revision = excluded.revision, state = 4, holder = NULL, title = '', body = '', traceparent = '', update_time = now()
