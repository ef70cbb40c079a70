UPDATE audit_person_keys SET sealed = $2 WHERE person_id = $1
