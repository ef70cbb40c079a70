-- What every service's schema holds of the kit: partitions by day, the outbox and its relay, the inbox, checkpoints of
-- consumers, dead letters. Names are unqualified: search_path is the service's schema.

-- ---------------------------------------------------------------------------------------------------------------------
-- Partitions by day, of tables PARTITION BY RANGE (<a uuid of version 7>). A UUIDv7 begins with its time in milliseconds
-- (48 bits), so a range of days is a range of ids, and the id alone stays the primary key.

CREATE TABLE partitioned_tables (
    table_name     text PRIMARY KEY,
    -- NULL: kept for ever.
    retention_days integer CHECK (retention_days >= 1)
);

-- The lowest uuid of a moment.
CREATE FUNCTION mesh_uuid_at(moment timestamptz) RETURNS uuid
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN rpad(lpad(to_hex(floor(extract(epoch FROM moment) * 1000)::bigint), 12, '0'), 32, '0')::uuid;

-- Makes the partition of one UTC day unless it is there. Rows of that day that fell into the default partition (a clock
-- ahead of ours) move into it. Returns whether one was made.
CREATE FUNCTION mesh_make_partition(parent text, day date) RETURNS boolean
    LANGUAGE plpgsql AS $$
DECLARE
    child   text := parent || '_' || to_char(day, 'YYYYMMDD');
    rest    text := parent || '_default';
    lowest  uuid := mesh_uuid_at(day::timestamp AT TIME ZONE 'UTC');
    beyond  uuid := mesh_uuid_at((day + 1)::timestamp AT TIME ZONE 'UTC');
    key     text;
    columns text;
BEGIN
    IF to_regclass(quote_ident(child)) IS NOT NULL THEN
        RETURN false;
    END IF;
    SELECT quote_ident(a.attname) INTO STRICT key
      FROM pg_partitioned_table p JOIN pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0]
     WHERE p.partrelid = quote_ident(parent)::regclass;
    SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) INTO STRICT columns
      FROM pg_attribute
     WHERE attrelid = quote_ident(parent)::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = '';
    -- CREATE TABLE … PARTITION OF would lock the parent against everybody; ATTACH locks the default partition only.
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING GENERATED '
                   'INCLUDING STORAGE INCLUDING COMPRESSION INCLUDING STATISTICS)', child, parent);
    EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', rest);
    EXECUTE format('WITH moved AS (DELETE FROM %I WHERE %s >= %L AND %s < %L RETURNING %s) '
                   'INSERT INTO %I (%s) SELECT %s FROM moved',
                   rest, key, lowest, key, beyond, columns, child, columns, columns);
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, child, lowest, beyond);
    RETURN true;
END $$;

-- For migrations: registers a table that is PARTITION BY RANGE (<uuid of version 7>) and makes its default partition (a
-- net for rows of days that have none) and those from yesterday to a week ahead. retention_days NULL keeps all days.
-- Nothing may refer to such a table by a foreign key: dropping a day would break it.
CREATE FUNCTION mesh_partition_by_day(table_name text, retention_days integer) RETURNS void
    LANGUAGE plpgsql AS $$
DECLARE
    today date := (now() AT TIME ZONE 'UTC')::date;
BEGIN
    INSERT INTO partitioned_tables VALUES (mesh_partition_by_day.table_name, mesh_partition_by_day.retention_days);
    EXECUTE format('CREATE TABLE %I PARTITION OF %I DEFAULT', table_name || '_default', table_name);
    FOR ahead IN -1 .. 7 LOOP
        PERFORM mesh_make_partition(table_name, today + ahead);
    END LOOP;
END $$;

-- ---------------------------------------------------------------------------------------------------------------------
-- The outbox: events of this service, each written in the transaction of its change.

CREATE TABLE outbox (
    id           uuid PRIMARY KEY,
    org_id       text        NOT NULL,
    aggregate_id text        NOT NULL,
    partition    smallint    NOT NULL CHECK (partition BETWEEN 0 AND 255),
    type         text        NOT NULL,
    -- A serialized promptmesh.events.v1.Envelope.
    envelope     bytea       NOT NULL,
    -- Place in this service's log: dense, from 1; NULL until the relay has seen the row committed.
    position     bigint,
    create_time  timestamptz NOT NULL DEFAULT now()
) PARTITION BY RANGE (id);
CREATE INDEX outbox_unsequenced ON outbox (id) WHERE position IS NULL;
CREATE INDEX outbox_position ON outbox (position) WHERE position IS NOT NULL;
SELECT mesh_partition_by_day('outbox', 7);

-- One row: its lock makes one relay at a time the one that numbers.
CREATE TABLE outbox_head (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    -- The last position given.
    position bigint  NOT NULL,
    -- The highest position among days dropped: what comes after it is whole.
    dropped  bigint  NOT NULL
) WITH (fillfactor = 10);
INSERT INTO outbox_head (position, dropped) VALUES (0, 0);

-- One row: its lock makes one relay at a time the one that publishes.
CREATE TABLE relay_cursor (
    only_row  boolean  PRIMARY KEY DEFAULT true CHECK (only_row),
    -- Everything up to here is in Redis.
    published bigint   NOT NULL,
    -- By partition (index 0 is element 1): the last position published in it, or 0.
    heads     bigint[] NOT NULL
) WITH (fillfactor = 10);
INSERT INTO relay_cursor (published, heads) VALUES (0, '{}');

-- Numbers up to `batch` committed rows that have no position, by id, densely after the head. Returns the head and how
-- many were numbered: -1 if another relay is at it. As the function is VOLATILE, each statement sees what was committed
-- before the statement, so the rows are looked for after the lock is held: a row that commits late is merely numbered
-- later, never skipped. The planner is held to indexes, since rows without position are always few among many.
CREATE FUNCTION mesh_sequence_outbox(batch integer, OUT head bigint, OUT sequenced integer)
    LANGUAGE plpgsql VOLATILE
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    ids uuid[];
BEGIN
    SELECT position INTO head FROM outbox_head FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        SELECT position INTO STRICT head FROM outbox_head;
        sequenced := -1;
        RETURN;
    END IF;
    SELECT array_agg(id) INTO ids
      FROM (SELECT id FROM outbox WHERE position IS NULL ORDER BY id LIMIT batch) AS waiting;
    sequenced := coalesce(array_length(ids, 1), 0);
    IF sequenced > 0 THEN
        UPDATE outbox SET position = head + numbered.place
          FROM unnest(ids) WITH ORDINALITY AS numbered (id, place)
         WHERE outbox.id = numbered.id;
        head := head + sequenced;
        UPDATE outbox_head SET position = head;
    END IF;
END $$;

-- ---------------------------------------------------------------------------------------------------------------------
-- Consumers: what they have done.

-- One row for each event done by a consumer. Kept longer than any outbox keeps its events, so that nothing that can be
-- replayed is done twice.
CREATE TABLE inbox (
    consumer text NOT NULL,
    event_id uuid NOT NULL,
    PRIMARY KEY (consumer, event_id)
) PARTITION BY RANGE (event_id);
SELECT mesh_partition_by_day('inbox', 10);

-- Up to where everything of a producer's partition is done by a consumer.
CREATE TABLE checkpoints (
    producer       text     NOT NULL,
    consumer       text     NOT NULL,
    partition      smallint NOT NULL,
    position       bigint   NOT NULL DEFAULT 0,
    -- Epoch of the stream for which that is complete; '' asks for a replay.
    epoch          text     NOT NULL DEFAULT '',
    -- The worker that replays, and until when others leave it to it.
    replayer       text,
    replayer_until timestamptz,
    -- Replays begun since the last one that brought anything: workers may be dying of an event in it.
    replays_begun  integer  NOT NULL DEFAULT 0,
    PRIMARY KEY (producer, consumer, partition)
) WITH (fillfactor = 50);

-- Events that a consumer could not do: for an operator to look at and have done again.
CREATE TABLE dead_letters (
    consumer        text        NOT NULL,
    event_id        uuid        NOT NULL,
    producer        text        NOT NULL,
    org_id          text        NOT NULL,
    type            text        NOT NULL,
    aggregate_id    text        NOT NULL,
    partition       smallint    NOT NULL,
    position        bigint      NOT NULL,
    envelope        bytea       NOT NULL,
    -- ERROR: its handler failed; CRASH: workers died of it; DECODE: it could not be read.
    reason          text        NOT NULL CHECK (reason IN ('ERROR', 'CRASH', 'DECODE')),
    error           text        NOT NULL,
    attempts        integer     NOT NULL,
    create_time     timestamptz NOT NULL DEFAULT now(),
    -- When an operator asked for another try; NULL if none is wanted.
    retry_requested timestamptz,
    PRIMARY KEY (consumer, event_id)
);
CREATE INDEX dead_letters_retry ON dead_letters (consumer, retry_requested) WHERE retry_requested IS NOT NULL;

-- Events that were in hand each time a worker died: done one by one, and counted before each start, until the one that
-- kills is known. A row goes with the success.
CREATE TABLE suspects (
    consumer text    NOT NULL,
    event_id uuid    NOT NULL,
    starts   integer NOT NULL,
    PRIMARY KEY (consumer, event_id)
);

-- ---------------------------------------------------------------------------------------------------------------------
-- The maintenance of partitions; a job of the kit calls it every few minutes.

-- Drops one day, unless it holds events that are not in Redis yet.
CREATE FUNCTION mesh_drop_partition(parent text, child text) RETURNS boolean
    LANGUAGE plpgsql AS $$
DECLARE
    needed boolean;
    highest bigint;
BEGIN
    IF parent = 'outbox' THEN
        EXECUTE format('SELECT EXISTS (SELECT FROM %I WHERE position IS NULL '
                       'OR position > (SELECT published FROM relay_cursor)), max(position) FROM %I', child, child)
           INTO needed, highest;
        IF needed THEN
            RAISE WARNING 'partition % holds events that were not published; it is kept', child;
            RETURN false;
        END IF;
        UPDATE outbox_head SET dropped = highest WHERE dropped < highest;
    END IF;
    EXECUTE format('DROP TABLE %I', child);
    RETURN true;
END $$;

-- Deletes from the default partition what is older than the retention: rows of clocks far behind.
CREATE FUNCTION mesh_drop_strays(parent text, beyond uuid) RETURNS void
    LANGUAGE plpgsql AS $$
DECLARE
    rest text := parent || '_default';
    key  text;
BEGIN
    IF parent = 'outbox' THEN
        WITH gone AS (
            DELETE FROM outbox_default WHERE id < beyond AND position <= (SELECT published FROM relay_cursor)
            RETURNING position
        ), highest AS (SELECT max(position) AS position FROM gone)
        UPDATE outbox_head SET dropped = highest.position FROM highest WHERE dropped < highest.position;
        RETURN;
    END IF;
    SELECT quote_ident(a.attname) INTO STRICT key
      FROM pg_partitioned_table p JOIN pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0]
     WHERE p.partrelid = quote_ident(parent)::regclass;
    EXECUTE format('DELETE FROM %I WHERE %s < %L', rest, key, beyond);
END $$;

-- Makes the partitions of the days ahead and drops those older than the retention; returns how many it made and dropped.
-- (-1, -1) if another process is at it.
CREATE FUNCTION mesh_maintain_partitions(moment timestamptz, OUT made integer, OUT dropped integer)
    LANGUAGE plpgsql
    -- A lock that is not had soon would hold up everybody queued behind it; the next run tries again.
    SET lock_timeout = '2s' AS $$
DECLARE
    registered partitioned_tables;
    today      date := (moment AT TIME ZONE 'UTC')::date;
    oldest     date;
    child      text;
BEGIN
    made := -1;
    dropped := -1;
    IF NOT pg_try_advisory_xact_lock(hashtext(current_schema()), hashtext('mesh_maintain_partitions')) THEN
        RETURN;
    END IF;
    made := 0;
    dropped := 0;
    FOR registered IN SELECT * FROM partitioned_tables LOOP
        FOR ahead IN -1 .. 7 LOOP
            IF mesh_make_partition(registered.table_name, today + ahead) THEN
                made := made + 1;
            END IF;
        END LOOP;
        CONTINUE WHEN registered.retention_days IS NULL;
        oldest := today - registered.retention_days;
        FOR child IN
            SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
             WHERE i.inhparent = quote_ident(registered.table_name)::regclass
               AND c.relname ~ '_[0-9]{8}$' AND to_date(right(c.relname, 8), 'YYYYMMDD') < oldest
             ORDER BY c.relname
        LOOP
            IF mesh_drop_partition(registered.table_name, child) THEN
                dropped := dropped + 1;
            END IF;
        END LOOP;
        PERFORM mesh_drop_strays(registered.table_name, mesh_uuid_at(oldest::timestamp AT TIME ZONE 'UTC'));
    END LOOP;
END $$;
