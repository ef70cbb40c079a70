"""What README's numbers come from. `make bench` runs all; `python -m bench NAME` runs one."""
