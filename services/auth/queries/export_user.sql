-- All that is kept of a person ($1), but for what only serves to check a secret: hashes, digests, texts of links.
SELECT jsonb_build_object(
    'user', (SELECT to_jsonb(u) - 'password_hash' - 'version' FROM users AS u WHERE u.user_id = $1),
    'organisation', (SELECT to_jsonb(o) FROM organisations AS o JOIN users AS u USING (org_id) WHERE u.user_id = $1),
    'sessions', (
        SELECT coalesce(jsonb_agg(to_jsonb(s) - 'refresh_digest' - 'previous_digest' - 'rotate_salt' ORDER BY s.session_id), '[]')
          FROM sessions AS s WHERE s.user_id = $1),
    'api_keys', (
        SELECT coalesce(jsonb_agg(to_jsonb(k) - 'digest' - 'previous_digest' - 'request_digest' ORDER BY k.api_key_id), '[]')
          FROM api_keys AS k WHERE k.user_id = $1),
    'second_factors', (
        SELECT coalesce(jsonb_agg(to_jsonb(f) - 'secret' - 'credential_id' - 'credential' ORDER BY f.factor_id), '[]')
          FROM factors AS f WHERE f.user_id = $1),
    'mails', (
        SELECT coalesce(jsonb_agg(to_jsonb(m) - 'body' ORDER BY m.mail_id), '[]') FROM mails AS m WHERE m.user_id = $1),
    'invitations', (
        SELECT coalesce(jsonb_agg(to_jsonb(i) - 'digest' - 'inviter_id' ORDER BY i.invitation_id), '[]')
          FROM invitations AS i JOIN users AS u USING (email)
         WHERE u.user_id = $1 AND u.email_verify_time IS NOT NULL),
    'links', (
        SELECT coalesce(jsonb_agg(to_jsonb(l) - 'digest' ORDER BY l.create_time), '[]')
          FROM links AS l WHERE l.user_id = $1),
    'known_addresses', (
        SELECT coalesce(jsonb_agg(to_jsonb(a) - 'digest' ORDER BY a.last_time), '[]')
          FROM known_addresses AS a WHERE a.user_id = $1)
)::text
