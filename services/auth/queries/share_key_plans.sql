-- Holds the plans of the organisations that a person's keys act for, in the order of locks, before the keys are revoked.
SELECT org_id, plan FROM organisations
 WHERE org_id IN (SELECT org_id FROM api_keys WHERE user_id = $1 AND revoke_time IS NULL)
 ORDER BY org_id
   FOR SHARE
