INSERT INTO suspects AS s (consumer, event_id, starts)
VALUES ($1, $2, 1)
ON CONFLICT (consumer, event_id) DO UPDATE SET starts = s.starts + 1
RETURNING starts
