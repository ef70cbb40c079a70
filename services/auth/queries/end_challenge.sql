DELETE FROM challenges WHERE digest = $1
