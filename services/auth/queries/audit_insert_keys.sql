INSERT INTO audit_person_keys (person_id, sealed) SELECT * FROM unnest($1::text[], $2::bytea[])
