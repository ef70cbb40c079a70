-- A newer revision takes the row over; one that was seen before, or is older than what was, changes nothing.
INSERT INTO examples AS e (post_id, org_id, revision, title, body, state, holder, traceparent)
SELECT post_id, org_id, revision, title, body, state, CASE WHEN state = 2 THEN $7::uuid END, traceparent
  FROM unnest($1::uuid[], $2::uuid[], $3::integer[], $4::text[], $5::text[], $6::smallint[], $8::text[])
       AS new (post_id, org_id, revision, title, body, state, traceparent)
    ON CONFLICT (post_id) DO UPDATE
   SET revision = excluded.revision, title = excluded.title, body = excluded.body, state = excluded.state,
       holder = excluded.holder, traceparent = excluded.traceparent, attempts = 0, run_time = now(), update_time = now()
 WHERE e.revision < excluded.revision
RETURNING post_id
