-- Posts and edits a day (UTC) of people and organisations for whom a plan has a limit. Removed some days later. Only adds.
CREATE TABLE post_counts (
    org_id     uuid NOT NULL,
    kind       smallint NOT NULL CHECK (kind IN (2, 3)), -- promptmesh.inference.v1.LimitKind: a person, the organisation
    subject_id uuid NOT NULL,
    day        date NOT NULL,
    posts      bigint NOT NULL,
    PRIMARY KEY (org_id, kind, subject_id, day)
) WITH (fillfactor = 50); -- rows of the day are updated in place
CREATE INDEX post_counts_by_day ON post_counts (day);
