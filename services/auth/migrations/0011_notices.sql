-- Who made a team or a service account is forgotten with their account. Only loosens, and adds indexes to find these by.
ALTER TABLE service_accounts ALTER COLUMN maker_id DROP NOT NULL; -- null: of somebody who is gone
CREATE INDEX organisations_by_maker ON organisations (maker_id) WHERE maker_id IS NOT NULL;
CREATE INDEX service_accounts_by_maker ON service_accounts (maker_id) WHERE maker_id IS NOT NULL;
