-- Of processes that died; their amounts stay in the sum of their day.
DELETE FROM example_reservations
 WHERE create_time < now() - interval '2 days'
