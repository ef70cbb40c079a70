-- What the web app needs: a refresh whose answer was lost, and people to be found by an administrator. Only adds.

-- A refresh keeps what it takes to give its answer once more for some seconds: the digest of the token that it used up,
-- and the salt from which, with that very token, its successor follows (refresh_tokens.py). Null: never refreshed.
ALTER TABLE sessions
    ADD COLUMN previous_digest bytea CHECK (octet_length(previous_digest) = 32),
    ADD COLUMN rotate_salt bytea,
    ADD COLUMN rotate_time timestamptz;

-- Not indexed, so that a log-in writes the row in place.
ALTER TABLE users ADD COLUMN last_login_time timestamptz;

-- All pieces of a text in lower case, from `shortest` to 3 characters long. A GIN index over the pieces of 1 to 3 finds
-- texts that contain another: the shortest pieces are for others of 1 or 2 characters.
CREATE FUNCTION search_grams(whole text, shortest int) RETURNS text[] LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT AS $$
    SELECT coalesce(array_agg(DISTINCT substr(lower(whole), at, size)), '{}')
      FROM generate_series(1, length(lower(whole))) AS at, generate_series(shortest, 3) AS size
     WHERE at + size - 1 <= length(lower(whole))
$$;
CREATE INDEX users_by_name ON users USING gin (search_grams(display_name, 1));
CREATE INDEX users_by_email ON users (email text_pattern_ops); -- for prefixes, whatever the collation
