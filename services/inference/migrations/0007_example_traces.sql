-- The trace that an example is written in, so that whoever takes a row over goes on in it. Only adds.
ALTER TABLE examples ADD COLUMN traceparent text NOT NULL DEFAULT ''; -- W3C; emptied when it is over
