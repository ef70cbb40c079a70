-- What is left of a person ($1, whose address is $2; null: they never proved that it is theirs, and what is for whoever
-- has it stays): two ids, until the last of their tokens has ended.
WITH links_gone AS (
    DELETE FROM links WHERE user_id = $1
), places_gone AS (
    DELETE FROM known_addresses WHERE user_id = $1
), mails_gone AS (
    DELETE FROM mails WHERE user_id = $1 OR recipient = $2
), requests_gone AS (
    DELETE FROM account_requests WHERE user_id = $1 OR email = $2
), invitations_gone AS (
    DELETE FROM invitations WHERE email = $2 OR inviter_id = $1
), keys_gone AS (
    DELETE FROM api_keys WHERE user_id = $1
), sessions_gone AS (
    DELETE FROM sessions WHERE user_id = $1
), gone AS (
    DELETE FROM users WHERE user_id = $1 RETURNING user_id, org_id
)
INSERT INTO deleted_users (user_id, org_id, delete_time)
SELECT user_id, org_id, clock_timestamp() FROM gone
RETURNING *
