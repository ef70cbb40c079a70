-- Counts a proof before it is looked at, so that no number of them at once gets past the bound.
UPDATE sessions SET proofs_tried = least(proofs_tried + 1, 32000)
 WHERE session_id = $1 AND end_time IS NULL
RETURNING proofs_tried
