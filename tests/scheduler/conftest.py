from tests.engine.conftest import engine, plain_tracebacks

__all__ = ["engine", "plain_tracebacks"]
