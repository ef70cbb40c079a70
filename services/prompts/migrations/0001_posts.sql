-- Posts, their revisions, what is published under which tag, and likes.
--
-- A post that is deleted stays as a tombstone: its row without name, reasons and example, in state 5. So its id and
-- request_id stay taken (a late retry of the create makes no second post), its version goes on growing, and verdicts
-- or examples that are still under way find the state and do nothing. All content goes at once, in the same transaction.
--
-- There are no foreign keys: the rows below a post are written and deleted only in transactions that hold the post's
-- row lock or insert it, and the check would cost the hot path (an insert of a post) a query a row.

-- state: 1 PENDING, 2 PUBLISHED, 3 HELD, 4 REJECTED, 5 DELETED, as in promptmesh.prompts.v1.PostState; it is the latest
-- revision's. example_state: 0 none, 1 WRITING, 2 READY, 3 FAILED, 4 WITHHELD; it is the published revision's.
CREATE TABLE posts (
    post_id uuid PRIMARY KEY,
    org_id uuid NOT NULL,
    author_id uuid NOT NULL,
    author_name text NOT NULL,
    version bigint NOT NULL,
    revision int NOT NULL,
    state smallint NOT NULL,
    published_revision int NOT NULL DEFAULT 0,
    reasons jsonb,
    example_state smallint NOT NULL DEFAULT 0,
    example bytea,
    like_count bigint NOT NULL DEFAULT 0,
    request_id uuid,
    request_digest bytea,
    create_time timestamptz NOT NULL,
    update_time timestamptz NOT NULL,
    publish_time timestamptz,
    shown_time timestamptz, -- when what everyone sees last changed; update_time would tell of edits that wait
    delete_time timestamptz,
    CHECK (state BETWEEN 1 AND 5),
    CHECK (published_revision BETWEEN 0 AND revision),
    CHECK ((state = 2) = (published_revision = revision)),
    CHECK ((state = 5) = (delete_time IS NOT NULL)),
    CHECK (state <> 5 OR published_revision = 0),
    CHECK (published_revision = 0 OR (publish_time IS NOT NULL AND shown_time IS NOT NULL)),
    CHECK (like_count >= 0),
    CHECK ((request_id IS NULL) = (request_digest IS NULL))
) WITH (fillfactor = 85); -- room for likes and examples to be written in place

-- The feed.
CREATE INDEX posts_published ON posts (post_id) WHERE published_revision > 0;
CREATE INDEX posts_by_author ON posts (author_id, post_id);
CREATE UNIQUE INDEX posts_by_request ON posts (author_id, request_id) WHERE request_id IS NOT NULL;

CREATE TABLE post_revisions (
    post_id uuid NOT NULL,
    revision int NOT NULL,
    org_id uuid NOT NULL,
    title text NOT NULL,
    body text NOT NULL,
    tags text[] NOT NULL,
    create_time timestamptz NOT NULL,
    PRIMARY KEY (post_id, revision)
);

-- Tags of published revisions alone, in the order of a page: a list by tag reads just its page.
CREATE TABLE published_tags (
    tag text NOT NULL,
    post_id uuid NOT NULL,
    org_id uuid NOT NULL,
    PRIMARY KEY (tag, post_id)
);

-- org_id is the organisation of who likes.
CREATE TABLE likes (
    post_id uuid NOT NULL,
    user_id uuid NOT NULL,
    org_id uuid NOT NULL,
    create_time timestamptz NOT NULL,
    PRIMARY KEY (post_id, user_id)
);

-- A post with its latest revision, and the published one where it is another. Deleted posts have no revision: they are
-- not here.
CREATE VIEW post_records AS
SELECT
    p.post_id, p.org_id, p.author_id, p.author_name, p.version, p.revision, p.state, p.published_revision, p.reasons,
    p.example, p.like_count, p.create_time, p.update_time, p.publish_time, p.shown_time,
    latest.title, latest.body, latest.tags,
    shown.title AS published_title, shown.body AS published_body, shown.tags AS published_tags
FROM posts AS p
JOIN post_revisions AS latest ON latest.post_id = p.post_id AND latest.revision = p.revision
LEFT JOIN post_revisions AS shown
    ON shown.post_id = p.post_id AND shown.revision = p.published_revision AND p.published_revision <> p.revision;
