-- Remembers where a person ($1, of $2) logged in from ($3), beside at most $4 others: the oldest goes.
WITH gone AS (
    DELETE FROM known_addresses
     WHERE user_id = $1
       AND digest IN (SELECT digest FROM known_addresses WHERE user_id = $1 AND digest <> $3
                       ORDER BY last_time DESC OFFSET $4)
)
INSERT INTO known_addresses AS k (user_id, org_id, digest, last_time)
VALUES ($1, $2, $3, now())
    ON CONFLICT (user_id, digest) DO UPDATE SET last_time = now()
