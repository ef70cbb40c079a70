"""The services, the kit they are built from, and the command that runs them on one machine."""
