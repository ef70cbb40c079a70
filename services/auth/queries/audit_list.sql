-- Newest first, before $1 (null: from the newest), $2 limit. Filters that are null say nothing: $3 actor, $4 subject,
-- $5 action, $6 prefix of actions (a LIKE pattern), $7 and $8 time of the act, $9 organisation; $10 and $11 the ids
-- between which records of that time are.
SELECT * FROM audit_records
 WHERE ($1::uuid IS NULL OR id < $1)
   AND ($3::text IS NULL OR actor_id = $3)
   AND ($4::text IS NULL OR subject_id = $4)
   AND ($5::text IS NULL OR action = $5)
   AND ($6::text IS NULL OR action LIKE $6)
   AND ($7::timestamptz IS NULL OR act_time >= $7)
   AND ($8::timestamptz IS NULL OR act_time < $8)
   AND ($9::text IS NULL OR org_id = $9)
   AND ($10::uuid IS NULL OR id >= $10)
   AND ($11::uuid IS NULL OR id < $11)
 ORDER BY id DESC
 LIMIT $2
