-- The reservation gives way to what the call cost; settling twice changes nothing.
WITH settled AS (
    DELETE FROM example_reservations AS r
     USING unnest($1::uuid[], $2::bigint[]) AS paid (id, nanos)
     WHERE r.id = paid.id
    RETURNING r.day, paid.nanos - r.nanos AS change
)
UPDATE example_spend AS s
   SET nanos = greatest(0, s.nanos + by_day.change)
  FROM (SELECT day, sum(change)::bigint AS change FROM settled GROUP BY day) AS by_day
 WHERE s.day = by_day.day
