-- What a stranger who used a person's account ($1) before they proved its address has left beside credentials: where they
-- logged in from, whose tries would not count; and what they asked for and is not done yet.
WITH places_gone AS (
    DELETE FROM known_addresses WHERE user_id = $1
), tries_gone AS (
    DELETE FROM proof_tries WHERE user_id = $1
)
DELETE FROM account_requests WHERE user_id = $1
