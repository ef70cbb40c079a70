-- As share_user, for a transaction that writes the row afterwards: two that share it would wait for one another.
SELECT *, clock_timestamp() AS moment FROM users WHERE user_id = $1 FOR NO KEY UPDATE
