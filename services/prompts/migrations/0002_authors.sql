-- What an author has published, oldest first: for counts of it and lists by author. Likes are not in it, so that one is
-- still written in place. Only adds.
CREATE INDEX posts_by_author_published ON posts (author_id, post_id) WHERE published_revision > 0;
