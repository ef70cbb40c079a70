-- Plans of organisations ($1), of those that have not the default one.
SELECT org_id, plan FROM organisations WHERE org_id = ANY ($1::uuid[]) AND plan <> ''
