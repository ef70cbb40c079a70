SELECT person_id, sealed FROM audit_person_keys WHERE person_id = ANY ($1::text[])
