-- Ends the sessions that act for an organisation, or did while tokens that say so still run, locked in one order. $2: of
-- this person alone; null: of everybody.
UPDATE sessions SET end_time = clock_timestamp()
 WHERE session_id IN (
       SELECT session_id FROM sessions
        WHERE end_time IS NULL AND greatest(refresh_expire_time, access_expire_time) > now() AND ($2::uuid IS NULL OR user_id = $2)
          AND (org_id = $1 OR (past_expire_time > now() AND $1 = ANY (past_org_ids)))
        ORDER BY session_id
          FOR NO KEY UPDATE)
RETURNING session_id, org_id, access_expire_time
