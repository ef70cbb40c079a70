-- Where sessions come from, when they end whatever happens, suspensions. Only adds.

ALTER TABLE sessions
    ADD COLUMN auth_time timestamptz, -- when it last proved who it is; null: opened by an older release
    ADD COLUMN methods   text[] NOT NULL DEFAULT '{password}'; -- how: password, totp, recovery_code, passkey, oidc:…
