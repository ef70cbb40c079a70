INSERT INTO example_workers (worker, incarnation, lease_time)
VALUES ($1, $2, now() + make_interval(secs => $3))
    ON CONFLICT (worker) DO UPDATE
   SET incarnation = excluded.incarnation, lease_time = excluded.lease_time
