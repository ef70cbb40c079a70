-- A page of cases in a state, oldest first. $1 state, $2 after case_id (null: from the start), $3 limit.
SELECT * FROM cases WHERE state = $1 AND ($2::uuid IS NULL OR case_id > $2) ORDER BY case_id LIMIT $3
