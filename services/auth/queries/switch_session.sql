-- A session acts for another organisation. $3: when its next access token ends.
UPDATE sessions
   SET past_org_ids = CASE WHEN past_expire_time > now() THEN array_append(array_remove(past_org_ids, org_id), org_id)
                           ELSE ARRAY[org_id] END,
       past_expire_time = access_expire_time,
       org_id = $2,
       access_expire_time = greatest(access_expire_time, $3)
 WHERE session_id = $1
