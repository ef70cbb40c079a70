"""The process that sends mail apart from auth."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import asyncpg
import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.local.ports import free_ports
from tests.integration.auth.accounts.mailbox import running_mailbox
from tests.integration.auth.world import Place, client_of
