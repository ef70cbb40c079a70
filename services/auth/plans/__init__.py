"""Plans: named sets of limits, applied whole as numbered snapshots, and who has which."""
