"""`python -m bench.endurance`: half of peak for half an hour, and whether any process grows meanwhile.

slopes.py    a robust slope with its interval, and what counts as growing
sampling.py  what is looked at every ten seconds: memory, descriptors, connections, threads; databases and folders
setting.py   the mesh that is held: models, people, caches so small that the warm-up fills them
acts.py      what callers do
traffic.py   an open loop over acts, in a process of its own
peak.py      how much of that this machine takes
report.py    tables, and the verdict
"""
