-- Nothing says any more what a person ($1) made. The organisations are locked ($2).
WITH accounts AS (
    UPDATE service_accounts SET maker_id = NULL WHERE maker_id = $1 AND org_id = ANY ($2::uuid[])
)
UPDATE organisations SET maker_id = NULL WHERE maker_id = $1 AND org_id = ANY ($2::uuid[])
