-- Second factors. Only adds.

-- Whether the person has a factor: read with the row at every log-in, kept in the transaction that adds or removes one.
ALTER TABLE users ADD COLUMN second_factor boolean NOT NULL DEFAULT false;

CREATE TABLE factors (
    factor_id     uuid PRIMARY KEY,
    org_id        uuid NOT NULL,
    user_id       uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    kind          smallint NOT NULL CHECK (kind IN (1, 3)), -- promptmesh.auth.v1.FactorKind: app, passkey
    display_name  text NOT NULL,
    secret        bytea, -- of an app, sealed (services/mesh/sealing.py)
    last_step     bigint, -- of an app: time step of the last code that was used; none up to it is good
    credential_id bytea UNIQUE, -- of a passkey
    credential    bytea, -- of a passkey: attested credential data, with its public key
    sign_count    bigint, -- of a passkey: its counter at its last use
    transports    text[], -- of a passkey: how its authenticator is reached
    create_time   timestamptz NOT NULL DEFAULT now(),
    last_use_time timestamptz, -- null: never
    CHECK ((kind = 1) = (secret IS NOT NULL AND last_step IS NOT NULL)),
    CHECK ((kind = 3) = (credential_id IS NOT NULL AND credential IS NOT NULL AND sign_count IS NOT NULL
                         AND transports IS NOT NULL))
);
CREATE INDEX factors_of_user ON factors (user_id, factor_id);

-- Those that are left: a used one goes.
CREATE TABLE recovery_codes (
    user_id     uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    digest      bytea NOT NULL CHECK (octet_length(digest) = 32), -- HMAC-SHA-256
    org_id      uuid NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, digest)
);

-- What was begun and awaits its proof: a factor being set up, a log-in, a proof by passkey. Good once.
CREATE TABLE challenges (
    digest          bytea PRIMARY KEY CHECK (octet_length(digest) = 32), -- SHA-256 of the token
    purpose         text NOT NULL CHECK (purpose IN ('totp', 'passkey', 'log_in', 'proof')),
    user_id         uuid REFERENCES users ON DELETE CASCADE, -- null: whoever has a passkey
    session_id      uuid, -- in which it was begun; null: none is open yet
    factor_id       uuid, -- of an app that is being set up
    secret          bytea, -- of that app, sealed
    webauthn        bytea, -- what a passkey signs
    methods         text[] NOT NULL DEFAULT '{}', -- what a log-in has proved so far
    password_digest bytea, -- of a log-in: SHA-256 of the password's hash, which must still be the present one
    tries           smallint NOT NULL DEFAULT 0,
    expire_time     timestamptz NOT NULL,
    create_time     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX challenges_of_user ON challenges (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX challenges_by_expiry ON challenges (expire_time);

-- How many proofs that can be guessed (codes of apps, passwords of open sessions) a person's account may still take:
-- a bucket that fills again with time. No row: it is full.
CREATE TABLE proof_tries (
    user_id   uuid PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    left_over double precision NOT NULL, -- at `moment`
    moment    timestamptz NOT NULL,
    told_time timestamptz -- when its owner was last told that somebody guesses; null: never
);
