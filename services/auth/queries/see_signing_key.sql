-- Says that a process signs with the key; whether it is new.
INSERT INTO signing_keys (kid, x, y, seen_time) VALUES ($1, $2, $3, now())
    ON CONFLICT (kid) DO UPDATE SET seen_time = now()
RETURNING xmax = 0 AS added
