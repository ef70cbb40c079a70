-- Organisations whose plan, or the suspension of whose owners, changed since tokens that still run were made ($1,
-- seconds), and those whose owners are all suspended.
SELECT org_id, plan, plan_change_time, suspend_time FROM organisations
 WHERE plan_change_time > now() - make_interval(secs => $1) OR suspend_time > now()
