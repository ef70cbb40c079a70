-- Whether somebody beside $1 could make administrators: one who is suspended cannot.
SELECT EXISTS (
    SELECT FROM users
     WHERE 3 = ANY (roles) AND user_id <> $1 AND (suspend_time IS NULL OR suspend_time <= clock_timestamp())
)
