"""A real engine in a process of its own, for tests that kill it and start it again."""

from treadle.server.process import EngineProcess, EngineStartError

__all__ = ["EngineProcess", "EngineStartError"]
