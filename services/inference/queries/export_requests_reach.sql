-- The last id that export_requests looks at for one page; none: it looks at all there are.
SELECT id FROM requests WHERE org_id = $1 AND id > $2 AND id < $3 ORDER BY id ASC OFFSET $4 - 1 LIMIT 1
