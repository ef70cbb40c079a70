DELETE FROM example_workers
 WHERE lease_time < now() - interval '1 day'
