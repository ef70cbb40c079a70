"""One call of a model from its admission to its receipt: limits, cache, attempts, ledger, in that order."""
