-- Holds an organisation with its members as they are, for what is made in their name: keys, sessions.
SELECT * FROM organisations WHERE org_id = $1 FOR SHARE
