"""Other gateways and ours, in turn, in front of one mock provider: `make bench-peers`.

`environments` installs the others, `systems` starts one, `rounds` loads it, `table` tells what came of it.
"""
