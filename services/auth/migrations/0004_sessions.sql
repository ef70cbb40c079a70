-- Where sessions come from, when they end whatever happens, suspensions. Only adds.

ALTER TABLE sessions
    ADD COLUMN auth_time    timestamptz, -- when it last proved who it is; null: opened by an older release
    ADD COLUMN methods      text[] NOT NULL DEFAULT '{password}', -- how: password, totp, recovery_code, passkey, oidc:…
    ADD COLUMN device       text NOT NULL DEFAULT '', -- in words; empty: opened by an older release
    ADD COLUMN network      text NOT NULL DEFAULT '', -- of its last use, shortened
    ADD COLUMN proofs_tried smallint NOT NULL DEFAULT 0; -- since the last right one; too many end it
CREATE INDEX sessions_of_user ON sessions (user_id); -- ended ones too, which go with their person

-- Suspended until then (in the past: no more), and why. A change of it moves roles_change_time, as one of roles does.
ALTER TABLE users
    ADD COLUMN suspend_time   timestamptz,
    ADD COLUMN suspend_reason text NOT NULL DEFAULT '';
CREATE INDEX users_suspended ON users (suspend_time) WHERE suspend_time IS NOT NULL;
