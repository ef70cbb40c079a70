UPDATE organisations
   SET plan = $2, plan_change_time = clock_timestamp(), version = version + 1
 WHERE org_id = $1
RETURNING org_id, plan, plan_change_time, suspend_time, version
