-- Also the way back in once the lease of another process of the same name has ended.
INSERT INTO example_workers AS w (worker, incarnation, lease_time)
VALUES ($1, $2, now() + make_interval(secs => $3))
    ON CONFLICT (worker) DO UPDATE
   SET incarnation = excluded.incarnation, lease_time = excluded.lease_time
 WHERE w.incarnation = excluded.incarnation OR w.lease_time < now()
RETURNING worker
