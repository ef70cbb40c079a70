-- Decisions and policies of a person ($1) who is gone stay, without them.
WITH policies_of AS (
    UPDATE policies SET author_id = NULL WHERE author_id = $1
)
UPDATE cases SET resolver_id = '00000000-0000-0000-0000-000000000000' WHERE resolver_id = $1
