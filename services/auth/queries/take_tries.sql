-- Counts a try for each key ($1), in windows of $2 seconds that begin with their first. Rows are taken in one order, so
-- that calls cannot wait for each other in a circle.
INSERT INTO tries AS t (key, count, end_time)
SELECT key, 1, now() + make_interval(secs => window_s)
  FROM unnest($1::bytea[], $2::float8[]) AS asked (key, window_s)
 ORDER BY key
    ON CONFLICT (key) DO UPDATE
   SET count = CASE WHEN t.end_time <= now() THEN 1 ELSE least(t.count, 1000000000) + 1 END,
       end_time = CASE WHEN t.end_time <= now() THEN excluded.end_time ELSE t.end_time END
RETURNING key, count, extract(epoch FROM end_time - now())::float8 AS left_s
