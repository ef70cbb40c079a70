"""A misbehaving OpenAI-compatible provider, for tests of everything that calls one."""

from tests.support.provider.behaviour import Behaviour, Fault
from tests.support.provider.cases import FAULTS, Breaks, FaultCase, Retry
from tests.support.provider.ports import dead_port, full_port, mute_port
from tests.support.provider.process import RemoteProviders, provider_process
from tests.support.provider.provider import MisbehavingProvider
from tests.support.provider.record import Record, SeenCall, Sums, Tokens
from tests.support.provider.server import ProviderServer, running_provider, running_server

__all__ = [
    "FAULTS",
    "Behaviour",
    "Breaks",
    "Fault",
    "FaultCase",
    "MisbehavingProvider",
    "ProviderServer",
    "Record",
    "RemoteProviders",
    "Retry",
    "SeenCall",
    "Sums",
    "Tokens",
    "dead_port",
    "full_port",
    "mute_port",
    "provider_process",
    "running_provider",
    "running_server",
]
