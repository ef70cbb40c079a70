WITH waiting AS (
    DELETE FROM identity_links WHERE user_id = $1
), begun AS (
    DELETE FROM federated_logins WHERE user_id = $1
)
DELETE FROM identities WHERE user_id = $1 RETURNING provider
