"""Runs in TensorZero's own environment: `tensorzero_server.py CONFIG PORT_FILE` serves until SIGTERM."""

from __future__ import annotations

import os
import signal
import sys
from urllib.parse import urlsplit

from tensorzero import _start_http_gateway  # type: ignore[import-not-found]

# Python acts on a signal between two of its own steps only, and none come: the wait below ends on it instead.
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
gateway = _start_http_gateway(
    config_file=sys.argv[1], clickhouse_url=None, postgres_url=None, valkey_url=None, async_setup=False
)
with open(sys.argv[2] + ".new", "w") as file:
    file.write(str(urlsplit(gateway.base_url).port))
os.replace(sys.argv[2] + ".new", sys.argv[2])
signal.sigwait({signal.SIGTERM})
gateway.close()
