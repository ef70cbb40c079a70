-- Organisations that a person ($1) made, or made a service account of; they need not belong to them any more.
SELECT org_id FROM organisations WHERE maker_id = $1
 UNION
SELECT org_id FROM service_accounts WHERE maker_id = $1
