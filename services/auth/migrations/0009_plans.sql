-- Plans, and who has which. Only adds.

-- Numbered snapshots of plans.yaml; the highest is in force. Of the whole mesh, so there is no org_id.
CREATE TABLE plan_versions (
    version     bigint PRIMARY KEY,
    yaml        text NOT NULL,
    digest      bytea NOT NULL CHECK (octet_length(digest) = 32), -- SHA-256 of the text
    author_id   uuid, -- null: the mesh itself, at its first start
    create_time timestamptz NOT NULL DEFAULT clock_timestamp()
);

ALTER TABLE organisations
    ADD COLUMN plan             text NOT NULL DEFAULT '', -- a name in plan_versions; '': the default one
    ADD COLUMN plan_change_time timestamptz, -- tokens issued until then may carry an older plan; null: never changed
    ADD COLUMN IF NOT EXISTS version bigint NOT NULL DEFAULT 1; -- of the aggregate in events
CREATE INDEX organisations_plan_changed ON organisations (plan_change_time) WHERE plan_change_time IS NOT NULL;
CREATE INDEX organisations_with_plan ON organisations (plan) WHERE plan <> '';
