-- Of a person's challenges for one purpose ($2), all but the $3 newest.
DELETE FROM challenges
 WHERE digest IN (SELECT digest FROM challenges WHERE user_id = $1 AND purpose = $2
                   ORDER BY create_time DESC, digest OFFSET $3)
