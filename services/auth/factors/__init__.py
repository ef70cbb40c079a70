"""Second factors: authenticator apps, recovery codes and passkeys, and the proofs that log-ins and step-ups ask for."""
