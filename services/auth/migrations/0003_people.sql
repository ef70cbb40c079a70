-- Proved addresses, links that were mailed, mail, tries that are counted, people who are gone. Only adds.

ALTER TABLE users ADD COLUMN email_verify_time timestamptz; -- when the address was proved to be theirs; null: never
CREATE INDEX users_of_org ON users (org_id); -- to whom an organisation belongs (view memberships)

-- What mailed links carry, as digests: a reader of the database cannot open one. Used ones are deleted.
CREATE TABLE links (
    digest      bytea PRIMARY KEY CHECK (octet_length(digest) = 32), -- SHA-256 of the token, which is random
    kind        smallint NOT NULL CHECK (kind BETWEEN 1 AND 3), -- 1 verify the address, 2 reset the password, 3 new address
    user_id     uuid NOT NULL REFERENCES users,
    org_id      uuid NOT NULL,
    email       text NOT NULL, -- that it was mailed to
    expire_time timestamptz NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX links_of_user ON links (user_id, kind);
CREATE INDEX links_by_expiry ON links (expire_time);

-- What was asked for under an address, by whoever: the call writes a row, whether an account has the address or not, and
-- a background job finds out. Rows go as they are done.
CREATE TABLE account_requests (
    request_id    uuid PRIMARY KEY,
    kind          smallint NOT NULL CHECK (kind BETWEEN 1 AND 3), -- 1 register, 2 reset the password, 3 new address
    user_id       uuid, -- 3: who asks
    email         text NOT NULL,
    display_name  text NOT NULL DEFAULT '', -- 1
    password_hash text NOT NULL DEFAULT '', -- 1
    attempts      smallint NOT NULL DEFAULT 0,
    next_time     timestamptz NOT NULL DEFAULT now(),
    create_time   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX account_requests_due ON account_requests (next_time);

-- Mail: written with what it tells of, sent afterwards. The text, which holds links, goes once it is sent or given up.
CREATE TABLE mails (
    mail_id     uuid PRIMARY KEY,
    org_id      uuid, -- null: of nobody who has an account
    user_id     uuid,
    recipient   text NOT NULL,
    template    text NOT NULL,
    subject     text NOT NULL,
    body        text NOT NULL,
    state       smallint NOT NULL DEFAULT 1 CHECK (state BETWEEN 1 AND 3), -- 1 waits, 2 sent, 3 given up
    attempts    smallint NOT NULL DEFAULT 0,
    error       text NOT NULL DEFAULT '', -- of the last attempt
    next_time   timestamptz NOT NULL DEFAULT now(),
    create_time timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX mails_due ON mails (next_time) WHERE state = 1;
CREATE INDEX mails_over ON mails (create_time) WHERE state > 1;
CREATE INDEX mails_of_user ON mails (user_id);

-- Tries in a window of time, by the HMAC of what they are counted for. Lost in a crash, which does no harm.
CREATE UNLOGGED TABLE tries (
    key      bytea PRIMARY KEY,
    count    integer NOT NULL,
    end_time timestamptz NOT NULL -- of the window
) WITH (fillfactor = 70);
CREATE INDEX tries_by_end ON tries (end_time);

-- Where people logged in from before, as HMACs: what strangers try counts for nothing there.
CREATE TABLE known_addresses (
    user_id   uuid NOT NULL REFERENCES users,
    org_id    uuid NOT NULL,
    digest    bytea NOT NULL,
    last_time timestamptz NOT NULL,
    PRIMARY KEY (user_id, digest)
);

-- People who are gone, until the last access token of theirs has ended everywhere: ids alone.
CREATE TABLE deleted_users (
    user_id     uuid PRIMARY KEY,
    org_id      uuid NOT NULL,
    delete_time timestamptz NOT NULL
);
CREATE INDEX deleted_users_by_time ON deleted_users (delete_time);
