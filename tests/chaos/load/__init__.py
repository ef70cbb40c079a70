"""Mixed load from official clients on a mesh that is broken meanwhile, and an oracle over what was acknowledged."""

from tests.chaos.load.load import Load
from tests.chaos.load.verdict import Counters, Verdict

__all__ = ["Counters", "Load", "Verdict"]
