"""A misbehaving OpenAI-compatible provider, for tests of everything that calls one."""

from tests.support.provider.behaviour import Behaviour, Fault
from tests.support.provider.server import MisbehavingProvider, SeenCall, running_provider

__all__ = ["Behaviour", "Fault", "MisbehavingProvider", "SeenCall", "running_provider"]
