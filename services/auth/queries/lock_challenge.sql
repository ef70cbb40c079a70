SELECT * FROM challenges WHERE digest = $1 AND expire_time > clock_timestamp() AND tries < $2 FOR UPDATE
