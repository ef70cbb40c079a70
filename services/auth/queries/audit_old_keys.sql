-- Keys that were not sealed under the first secret. $1 the head of what is, $2 limit. Locked against erasure.
SELECT person_id, sealed FROM audit_person_keys
 WHERE substring(sealed FROM 1 FOR 5) <> $1
 LIMIT $2 FOR UPDATE SKIP LOCKED
