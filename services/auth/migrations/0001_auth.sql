-- People, their organisations, sessions, API keys, and the keys that access tokens are verified with.

CREATE TABLE organisations (
    org_id       uuid PRIMARY KEY,
    display_name text NOT NULL,
    create_time  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE users (
    user_id           uuid PRIMARY KEY,
    org_id            uuid NOT NULL REFERENCES organisations,
    email             text NOT NULL UNIQUE, -- NFC, lower case
    display_name      text NOT NULL,
    password_hash     text NOT NULL, -- argon2id, with its parameters and salt (PHC string)
    roles             smallint[] NOT NULL CHECK (1 = ANY (roles)), -- promptmesh.access.v1.Role, sorted
    -- When the roles last changed: tokens issued until then carry older ones. Null: never.
    roles_change_time timestamptz,
    version           bigint NOT NULL DEFAULT 1, -- of the aggregate in events
    create_time       timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX users_admins ON users (user_id) WHERE 3 = ANY (roles);
CREATE INDEX users_roles_changed ON users (roles_change_time) WHERE roles_change_time IS NOT NULL;

-- A session holds the digest of the one refresh token that is good: an older one is known by the code that it carries
-- (refresh_tokens.py), so used tokens need no rows. Rows that are over are removed after some days.
CREATE TABLE sessions (
    session_id          uuid PRIMARY KEY,
    org_id              uuid NOT NULL,
    user_id             uuid NOT NULL REFERENCES users,
    refresh_digest      bytea NOT NULL CHECK (octet_length(refresh_digest) = 32), -- SHA-256
    access_expire_time  timestamptz NOT NULL, -- of the last access token
    refresh_expire_time timestamptz NOT NULL,
    end_time            timestamptz, -- log-out, reuse of a refresh token, a new password; null: not ended
    create_time         timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 80);
CREATE INDEX sessions_live ON sessions (user_id) WHERE end_time IS NULL;
CREATE INDEX sessions_ended ON sessions (access_expire_time) WHERE end_time IS NOT NULL;
CREATE INDEX sessions_by_expiry ON sessions (refresh_expire_time);

CREATE TABLE api_keys (
    api_key_id     uuid PRIMARY KEY,
    org_id         uuid NOT NULL,
    user_id        uuid NOT NULL REFERENCES users,
    display_name   text NOT NULL,
    prefix         text NOT NULL, -- first characters of the secret
    digest         bytea NOT NULL UNIQUE CHECK (octet_length(digest) = 32), -- HMAC-SHA-256 under the mesh's pepper
    scopes         text[] NOT NULL,
    expire_time    timestamptz, -- null: never
    revoke_time    timestamptz, -- null: in force
    request_id     uuid, -- null: the maker gave none
    request_digest bytea, -- SHA-256 of the request that it came with
    create_time    timestamptz NOT NULL DEFAULT now(),
    UNIQUE (user_id, request_id),
    CHECK ((request_id IS NULL) = (request_digest IS NULL))
);
CREATE INDEX api_keys_of_user ON api_keys (user_id, api_key_id);

-- Public keys of the processes that sign. Each process keeps its own seen; a key that nobody signs with any more goes
-- once the last token that it signed has ended. Of the whole mesh, so there is no org_id.
CREATE TABLE signing_keys (
    kid         text PRIMARY KEY, -- RFC 7638 thumbprint
    x           text NOT NULL, -- base64url
    y           text NOT NULL,
    seen_time   timestamptz NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now()
);
