SELECT s.*, o.plan FROM service_accounts s JOIN organisations o USING (org_id) WHERE s.service_account_id = $1
