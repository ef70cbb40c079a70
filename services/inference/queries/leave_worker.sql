DELETE FROM example_workers
 WHERE worker = $1 AND incarnation = $2
