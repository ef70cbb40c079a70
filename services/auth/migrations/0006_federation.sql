-- Persons of identity providers. Only adds, but that a password may be missing: earlier releases take that for a wrong
-- one, as they do where there is no account.

ALTER TABLE users ALTER COLUMN password_hash DROP NOT NULL; -- null: they log in elsewhere

-- Known by issuer and subject alone: a provider's name is the operator's, who may give it to another one day.
CREATE TABLE identities (
    identity_id   uuid PRIMARY KEY,
    org_id        uuid NOT NULL,
    user_id       uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    provider      text NOT NULL,
    issuer        text NOT NULL,
    subject       text NOT NULL,
    email         text NOT NULL, -- there; empty: not told
    create_time   timestamptz NOT NULL DEFAULT now(),
    last_use_time timestamptz, -- null: never
    UNIQUE (issuer, subject),
    UNIQUE (user_id, issuer)
);

-- Log-ins that were begun and await the provider's answer. Good once.
CREATE TABLE federated_logins (
    digest        bytea PRIMARY KEY CHECK (octet_length(digest) = 32), -- SHA-256 of the state
    cookie_digest bytea NOT NULL CHECK (octet_length(cookie_digest) = 32), -- SHA-256 of what only that browser has
    nonce_digest  bytea NOT NULL CHECK (octet_length(nonce_digest) = 32), -- SHA-256
    verifier      bytea NOT NULL, -- of PKCE, sealed (services/mesh/sealing.py)
    provider      text NOT NULL,
    user_id       uuid REFERENCES users ON DELETE CASCADE, -- who links an identity; null: a log-in
    session_id    uuid, -- of theirs
    expire_time   timestamptz NOT NULL,
    create_time   timestamptz NOT NULL DEFAULT now(),
    CHECK ((user_id IS NULL) = (session_id IS NULL))
);
CREATE INDEX federated_logins_by_expiry ON federated_logins (expire_time);
CREATE INDEX federated_logins_of_user ON federated_logins (user_id) WHERE user_id IS NOT NULL;

-- Persons of providers who proved who they are there, and whose address an account has: linked once that one is logged
-- in to. Good once.
CREATE TABLE identity_links (
    digest      bytea PRIMARY KEY CHECK (octet_length(digest) = 32), -- SHA-256 of the token
    user_id     uuid NOT NULL REFERENCES users ON DELETE CASCADE, -- whose address it is
    org_id      uuid NOT NULL,
    provider    text NOT NULL,
    issuer      text NOT NULL,
    subject     text NOT NULL,
    email       text NOT NULL,
    expire_time timestamptz NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX identity_links_by_expiry ON identity_links (expire_time);
CREATE INDEX identity_links_of_user ON identity_links (user_id);
