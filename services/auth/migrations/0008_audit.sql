-- The audit trail: acts of all services, each chained to the one before by its hash. Only adds.
--
-- Append-only in the database itself: triggers refuse UPDATE, DELETE and TRUNCATE to whoever does not switch them off,
-- and the role that serves has no right to them. It owns the tables, as it makes and drops their days, so one who has
-- taken it over could undo both: that is what the chain is for, and hashes kept elsewhere.

CREATE TABLE audit_records (
    -- Given by the writer, rising with the sequence: days are runs of the chain, and dropping the oldest cuts its start.
    id             uuid PRIMARY KEY,
    sequence       bigint      NOT NULL CHECK (sequence >= 1), -- dense, from 1
    event_id       uuid        NOT NULL, -- that told of the act; the inbox makes it count once
    producer       text        NOT NULL, -- service where it was done
    act_time       timestamptz NOT NULL,
    action         text        NOT NULL,
    actor_kind     text        NOT NULL,
    actor_id       text        NOT NULL,
    subject_kind   text        NOT NULL,
    subject_id     text        NOT NULL,
    org_id         text        NOT NULL,
    request_id     text        NOT NULL,
    succeeded      boolean     NOT NULL,
    -- What names people, encrypted under the keys of persons (audit_person_keys); empty bytes: nothing.
    actor_key      text        NOT NULL, -- person; '': nobody's
    actor_sealed   bytea       NOT NULL, -- name and address
    subject_key    text        NOT NULL,
    subject_sealed bytea       NOT NULL, -- name, reason, change
    hash           bytea       NOT NULL CHECK (octet_length(hash) = 32) -- chain.py
) PARTITION BY RANGE (id);
CREATE INDEX audit_records_of_actor ON audit_records (actor_id, id);
CREATE INDEX audit_records_on_subject ON audit_records (subject_id, id);
CREATE INDEX audit_records_by_action ON audit_records (action text_pattern_ops, id);
CREATE INDEX audit_records_of_org ON audit_records (org_id, id);

CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit trail is append-only: % of % is refused', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON audit_records
    FOR EACH ROW EXECUTE FUNCTION audit_is_append_only();
CREATE TRIGGER append_only_whole BEFORE TRUNCATE ON audit_records
    FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only();
REVOKE UPDATE, DELETE, TRUNCATE ON audit_records FROM CURRENT_USER;

-- Makes the days that the kit made since as append-only as their parent: triggers of rows they have from it, those of
-- statements and rights they have not. The default partition is to stay empty, and the kit must be able to look into it.
CREATE FUNCTION audit_close_partitions() RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    child  text;
    closed integer := 0;
BEGIN
    FOR child IN
        SELECT i.inhrelid::regclass::text FROM pg_inherits i
         WHERE i.inhparent = 'audit_records'::regclass AND i.inhrelid <> 'audit_records_default'::regclass
           AND NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = i.inhrelid AND t.tgname = 'append_only_whole')
    LOOP
        EXECUTE format('CREATE TRIGGER append_only_whole BEFORE TRUNCATE ON %s '
                       'FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only()', child);
        EXECUTE format('REVOKE UPDATE, DELETE, TRUNCATE ON %s FROM CURRENT_USER', child);
        closed := closed + 1;
    END LOOP;
    RETURN closed;
END $$;

-- No retention of the kit's: retention.py leaves a checkpoint where it drops days.
SELECT mesh_partition_by_day('audit_records', NULL);
-- The kit moves rows out of it, which here nothing may: so none comes in. The writer makes a day that is missing.
ALTER TABLE audit_records_default ADD CONSTRAINT audit_records_have_days CHECK (false);
SELECT audit_close_partitions();

-- One row: its lock makes one writer at a time the one that appends, over all replicas.
CREATE TABLE audit_head (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    sequence bigint NOT NULL,
    id       uuid   NOT NULL,
    hash     bytea  NOT NULL
) WITH (fillfactor = 10);
INSERT INTO audit_head (sequence, id, hash)
VALUES (0, '00000000-0000-0000-0000-000000000000', decode(repeat('00', 32), 'hex'));

-- The last record of each run that retention dropped: the chain goes on from it.
CREATE TABLE audit_checkpoints (
    sequence    bigint PRIMARY KEY,
    hash        bytea       NOT NULL CHECK (octet_length(hash) = 32),
    create_time timestamptz NOT NULL DEFAULT now()
);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON audit_checkpoints
    FOR EACH ROW EXECUTE FUNCTION audit_is_append_only();
CREATE TRIGGER append_only_whole BEFORE TRUNCATE ON audit_checkpoints
    FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only();
REVOKE UPDATE, DELETE, TRUNCATE ON audit_checkpoints FROM CURRENT_USER;

-- One key a person, encrypted under the mesh's (sealing.py). Without it what it sealed is unreadable for ever: that is
-- how a person is erased, and the chain, which is over the encrypted form, still holds. '': of what is nobody's.
CREATE TABLE audit_person_keys (
    person_id   text PRIMARY KEY,
    sealed      bytea       NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now()
);

-- Who was erased: what comes about them later is sealed under a key that nobody keeps.
CREATE TABLE audit_erased_persons (
    person_id  text PRIMARY KEY,
    erase_time timestamptz NOT NULL DEFAULT now()
);

-- Drops a day of the trail; only what is one.
CREATE FUNCTION audit_drop_day(child text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF child !~ '^audit_records_[0-9]{8}$' THEN
        RAISE EXCEPTION '% is no day of the audit trail', child;
    END IF;
    EXECUTE format('DROP TABLE %I', child);
END $$;
