from tests.engine.conftest import plain_tracebacks

__all__ = ["plain_tracebacks"]
