-- The plans stay as they are until the transaction ends: none is left out while an organisation gets it.
LOCK TABLE plan_versions IN ROW EXCLUSIVE MODE
