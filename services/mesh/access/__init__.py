"""Who may call: policies from the contracts, credentials to callers, and the rule that joins them."""
