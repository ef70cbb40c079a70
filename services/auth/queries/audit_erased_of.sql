SELECT person_id FROM audit_erased_persons WHERE person_id = ANY ($1::text[])
