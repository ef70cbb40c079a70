-- Brings the tags of posts that were just published, and are locked, up to their published revision.
WITH shown AS (
    SELECT p.post_id, p.org_id, r.tags
    FROM posts AS p
    JOIN post_revisions AS r ON r.post_id = p.post_id AND r.revision = p.published_revision
    WHERE p.post_id = ANY ($1::uuid[])
), removed AS (
    DELETE FROM published_tags AS t
    USING shown AS s JOIN post_revisions AS r ON r.post_id = s.post_id
    WHERE t.post_id = s.post_id AND t.tag = ANY (r.tags) AND t.tag <> ALL (s.tags)
)
INSERT INTO published_tags (tag, post_id, org_id)
SELECT unnest(s.tags), s.post_id, s.org_id FROM shown AS s
ON CONFLICT (tag, post_id) DO NOTHING
