-- Until when every owner of a locked team is suspended, if that is another time than before. Of people who were suspended
-- beside this, the caller holds the rows or the organisation, so that one of two acts at once sees both.
UPDATE organisations o
   SET suspend_time = s.until, plan_change_time = clock_timestamp(), version = version + 1
  FROM (SELECT CASE WHEN bool_and(coalesce(u.suspend_time > clock_timestamp(), false)) THEN min(u.suspend_time) END
                   AS until
          FROM members m JOIN users u USING (user_id)
         WHERE m.org_id = $1 AND m.role = 1) s
 WHERE o.org_id = $1 AND NOT o.personal
   AND CASE WHEN o.suspend_time > clock_timestamp() THEN o.suspend_time END IS DISTINCT FROM s.until
RETURNING o.*
