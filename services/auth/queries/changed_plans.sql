-- Organisations whose plan changed since tokens that still run were made ($1, seconds).
SELECT org_id, plan, plan_change_time FROM organisations
 WHERE plan_change_time > now() - make_interval(secs => $1)
