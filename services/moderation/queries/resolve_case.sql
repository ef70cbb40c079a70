-- $1 case_id, $2 decision, $3 note, $4 public_reason, $5 resolver_id.
UPDATE cases SET state = 2, decision = $2, note = $3, public_reason = $4, resolver_id = $5, resolve_time = now()
WHERE case_id = $1
RETURNING *
