-- How many cases wait, counted to $1, and since when the oldest does. The index gives both.
SELECT
    (SELECT count(*) FROM (SELECT FROM cases WHERE state = 1 LIMIT $1) AS counted) AS waiting,
    (SELECT create_time FROM cases WHERE state = 1 ORDER BY case_id LIMIT 1) AS oldest_time
