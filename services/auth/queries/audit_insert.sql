INSERT INTO audit_records (id, sequence, event_id, producer, act_time, action, actor_kind, actor_id, subject_kind,
                           subject_id, org_id, request_id, succeeded, actor_key, actor_sealed, subject_key,
                           subject_sealed, hash)
SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::text[], $5::timestamptz[], $6::text[], $7::text[],
                     $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::boolean[], $14::text[],
                     $15::bytea[], $16::text[], $17::bytea[], $18::bytea[])
