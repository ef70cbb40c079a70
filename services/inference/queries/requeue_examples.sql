UPDATE examples AS e
   SET state = 1, holder = NULL, attempts = e.attempts + again.attempts, update_time = now(),
       run_time = now() + make_interval(secs => again.delay_s)
  FROM unnest($2::uuid[], $3::integer[], $4::double precision[], $5::integer[]) AS again (post_id, revision, delay_s, attempts)
 WHERE e.post_id = again.post_id AND e.revision = again.revision AND e.holder = $1 AND e.state = 2
