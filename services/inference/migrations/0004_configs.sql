-- Configurations that go back, and keys of providers.

ALTER TABLE config_versions
    ADD COLUMN rollback_of bigint REFERENCES config_versions, -- whose text it repeats; null: none
    ADD COLUMN note        text NOT NULL DEFAULT ''; -- why, where the mesh itself made it

-- Credentials of providers, encrypted (provider_keys/sealing.py). Of the whole mesh, so there is no org_id.
CREATE TABLE provider_keys (
    provider_key_id uuid PRIMARY KEY,
    provider        text NOT NULL,
    display_name    text NOT NULL,
    hint            text NOT NULL, -- the secret's last four characters
    sealed          bytea NOT NULL,
    author_id       uuid NOT NULL,
    create_time     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX provider_keys_of_provider ON provider_keys (provider, provider_key_id);

-- Raised by every change of provider_keys, which its row lock also puts in order; what processes watch.
CREATE TABLE provider_keys_version (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    version  bigint NOT NULL
);
INSERT INTO provider_keys_version (version) VALUES (0);
