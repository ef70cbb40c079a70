-- Holds a person's password and roles as they are while tokens are made from them. `moment` is no later than the reading,
-- and the time of a change is taken after its lock: so a token with older roles is always issued before the change.
SELECT *, clock_timestamp() AS moment FROM users WHERE user_id = $1 FOR SHARE
