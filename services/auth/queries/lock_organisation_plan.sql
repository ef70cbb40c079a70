-- Locked before its plan is changed, so that the time of the change is after every token made with the plan before.
SELECT org_id, display_name, plan FROM organisations WHERE org_id = $1 FOR NO KEY UPDATE
