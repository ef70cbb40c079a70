-- A proof that was counted was not looked at.
UPDATE sessions SET proofs_tried = greatest(proofs_tried - 1, 0) WHERE session_id = $1
