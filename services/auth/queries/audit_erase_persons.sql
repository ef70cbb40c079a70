WITH told AS (
    INSERT INTO audit_erased_persons (person_id) SELECT DISTINCT unnest($1::text[]) ON CONFLICT DO NOTHING
)
DELETE FROM audit_person_keys WHERE person_id = ANY ($1::text[])
