-- Forgets the tries of some keys ($1), and gives one back of others ($2). Rows are locked in one order before any is
-- changed, that of take_tries, so that calls cannot wait for each other in a circle.
WITH locked AS MATERIALIZED (
    SELECT key FROM tries WHERE key = ANY ($1::bytea[] || $2::bytea[]) ORDER BY key FOR UPDATE
), forgotten AS (
    DELETE FROM tries WHERE key = ANY ($1::bytea[]) AND key IN (SELECT key FROM locked)
)
UPDATE tries SET count = count - 1 WHERE key = ANY ($2::bytea[]) AND key IN (SELECT key FROM locked) AND count > 0
