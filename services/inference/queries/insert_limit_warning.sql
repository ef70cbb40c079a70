-- Whether it is the first.
INSERT INTO limit_warnings (org_id, kind, subject_id, limit_name, begin_time, percent, end_time)
VALUES ($1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT DO NOTHING
RETURNING true
