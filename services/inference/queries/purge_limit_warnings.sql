DELETE FROM limit_warnings WHERE end_time < now() - interval '7 days'
