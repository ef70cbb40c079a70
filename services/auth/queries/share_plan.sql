-- Holds an organisation's plan as it is while a token is made with it (see share_user).
SELECT plan FROM organisations WHERE org_id = $1 FOR SHARE
