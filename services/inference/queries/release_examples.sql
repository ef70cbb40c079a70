-- A process that stops gives back what it holds: others go on with it at once.
UPDATE examples
   SET state = 1, holder = NULL, run_time = now(), update_time = now()
 WHERE holder = $1 AND state = 2
