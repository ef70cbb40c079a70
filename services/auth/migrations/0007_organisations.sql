-- Members and service accounts of organisations; what API keys are restricted to. Only adds, and loosens one rule.

-- True as the default: what the release before makes is the organisation of a person's own.
ALTER TABLE organisations
    ADD COLUMN personal       boolean NOT NULL DEFAULT true,
    ADD COLUMN maker_id       uuid, -- who made a team; null: personal
    ADD COLUMN request_id     uuid, -- the maker gave none: null
    ADD COLUMN request_digest bytea,
    ADD COLUMN version        bigint NOT NULL DEFAULT 1; -- of the aggregate in events
CREATE UNIQUE INDEX organisations_of_request ON organisations (maker_id, request_id) WHERE request_id IS NOT NULL;

-- Of teams. The one member of a personal organisation is the person whose `users.org_id` it is (view memberships).
CREATE TABLE members (
    org_id      uuid NOT NULL REFERENCES organisations ON DELETE CASCADE,
    user_id     uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    role        smallint NOT NULL CHECK (role BETWEEN 1 AND 3), -- promptmesh.auth.v1.MemberRole
    create_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (org_id, user_id)
);
CREATE INDEX members_of_user ON members (user_id);
CREATE INDEX members_by_age ON members (org_id, create_time, user_id);

CREATE VIEW memberships AS
    SELECT org_id, user_id, role, create_time FROM members
     UNION ALL
    SELECT org_id, user_id, 1::smallint, create_time FROM users;

CREATE TABLE invitations (
    invitation_id uuid PRIMARY KEY,
    org_id        uuid NOT NULL REFERENCES organisations ON DELETE CASCADE,
    email         text NOT NULL, -- as users.email
    role          smallint NOT NULL CHECK (role BETWEEN 1 AND 3),
    inviter_id    uuid NOT NULL,
    digest        bytea NOT NULL UNIQUE CHECK (octet_length(digest) = 32), -- SHA-256 of the link's token
    expire_time   timestamptz NOT NULL,
    create_time   timestamptz NOT NULL DEFAULT now(),
    UNIQUE (org_id, email) -- a new one takes the place of the one before
);
CREATE INDEX invitations_by_expiry ON invitations (expire_time);

CREATE TABLE service_accounts (
    service_account_id uuid PRIMARY KEY,
    org_id             uuid NOT NULL REFERENCES organisations ON DELETE CASCADE,
    display_name       text NOT NULL,
    maker_id           uuid NOT NULL,
    request_id         uuid,
    request_digest     bytea,
    create_time        timestamptz NOT NULL DEFAULT now(),
    delete_time        timestamptz -- its revoked keys refer to it; null: it is there
);
CREATE INDEX service_accounts_of_org ON service_accounts (org_id, service_account_id) WHERE delete_time IS NULL;
CREATE INDEX service_accounts_with_org ON service_accounts (org_id); -- deleted ones too, which go with it
CREATE UNIQUE INDEX service_accounts_of_request ON service_accounts (org_id, request_id) WHERE request_id IS NOT NULL;

-- A key is a person's or a service account's. The release before makes and finds keys of persons alone.
ALTER TABLE api_keys
    ALTER COLUMN user_id DROP NOT NULL,
    ADD COLUMN service_account_id   uuid REFERENCES service_accounts ON DELETE CASCADE,
    ADD COLUMN allowed_networks     text[] NOT NULL DEFAULT '{}',
    ADD COLUMN models               text[] NOT NULL DEFAULT '{}',
    ADD COLUMN last_use_time        timestamptz, -- to about a minute; null: never
    ADD COLUMN previous_digest      bytea UNIQUE CHECK (octet_length(previous_digest) = 32),
    ADD COLUMN previous_expire_time timestamptz,
    ADD COLUMN version              bigint NOT NULL DEFAULT 1, -- of the aggregate in events
    ADD CONSTRAINT api_keys_owner CHECK (num_nonnulls(user_id, service_account_id) = 1),
    ADD CONSTRAINT api_keys_previous CHECK ((previous_digest IS NULL) = (previous_expire_time IS NULL));
CREATE INDEX api_keys_of_service_account ON api_keys (service_account_id, api_key_id)
    WHERE service_account_id IS NOT NULL;
CREATE UNIQUE INDEX api_keys_of_account_request ON api_keys (service_account_id, request_id)
    WHERE service_account_id IS NOT NULL AND request_id IS NOT NULL;
CREATE INDEX api_keys_of_org ON api_keys (org_id) WHERE revoke_time IS NULL;

-- Organisations that a session acted for while access tokens that say so may still run, which is until past_expire_time.
ALTER TABLE sessions
    ADD COLUMN past_org_ids     uuid[] NOT NULL DEFAULT '{}',
    ADD COLUMN past_expire_time timestamptz;
