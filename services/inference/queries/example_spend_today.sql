SELECT nanos
  FROM example_spend
 WHERE day = (now() AT TIME ZONE 'UTC')::date
