-- Changes of an organisation, its members and accounts are made one at a time. What stands in other tables is to be read
-- by a statement of its own after this one: one that waits here sees them as they were before it waited.
SELECT * FROM organisations WHERE org_id = $1 FOR NO KEY UPDATE
