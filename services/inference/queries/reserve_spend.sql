-- All or nothing: no row where the day's sum would pass the cap ($3).
WITH spent AS (
    INSERT INTO example_spend AS s (day, nanos)
    SELECT (now() AT TIME ZONE 'UTC')::date, $2::bigint
     WHERE $2::bigint <= $3::bigint
        ON CONFLICT (day) DO UPDATE
       SET nanos = s.nanos + excluded.nanos
     WHERE s.nanos + excluded.nanos <= $3::bigint
    RETURNING day
)
INSERT INTO example_reservations (id, day, nanos)
SELECT $1, day, $2::bigint
  FROM spent
RETURNING id
