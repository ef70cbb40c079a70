-- Whether the name ($3) is newer ($4) than what was known of the person.
INSERT INTO author_names AS a (user_id, org_id, display_name, version)
VALUES ($1, $2, $3, $4)
    ON CONFLICT (user_id) DO UPDATE SET display_name = excluded.display_name, version = excluded.version
       WHERE a.version < excluded.version
RETURNING true
