-- As share_plan, of the organisation that a session acts for. The lock of its person's row keeps it from acting for another
-- one meanwhile (switch_session).
SELECT plan FROM organisations WHERE org_id = (SELECT org_id FROM sessions WHERE session_id = $1) FOR SHARE
