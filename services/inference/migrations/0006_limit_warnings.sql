-- Warnings that a limit is nearly used up, each once for its window. Removed some days after the window. Only adds.
CREATE TABLE limit_warnings (
    org_id      uuid NOT NULL,
    kind        smallint NOT NULL CHECK (kind BETWEEN 1 AND 3), -- promptmesh.inference.v1.LimitKind
    subject_id  uuid NOT NULL,
    limit_name  text NOT NULL, -- field of promptmesh.inference.v1.Limits
    begin_time  timestamptz NOT NULL, -- of the window
    percent     smallint NOT NULL,
    end_time    timestamptz NOT NULL, -- of the window
    create_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, kind, subject_id, limit_name, begin_time, percent)
);
CREATE INDEX limit_warnings_by_end ON limit_warnings (end_time);
