-- In the order in which they are locked.
SELECT org_id FROM members WHERE user_id = $1 ORDER BY org_id
