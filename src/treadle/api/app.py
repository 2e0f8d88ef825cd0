"""The REST edge as one ASGI app."""

from fastapi import FastAPI

from treadle.api import health, runs, workers
from treadle.api.backend import ApiBackend
from treadle.api.errors import install_error_answers
from treadle.api.guard import Guard

MAX_BODY_BYTES = 4 * 1024 * 1024


def create_app(backend: ApiBackend, *, max_body_bytes: int = MAX_BODY_BYTES) -> FastAPI:
    """Every route over one backend. Paths that no route serves are answered with 404 in the contract's shape."""
    app = FastAPI(title="Treadle", openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.backend = backend
    install_error_answers(app)
    for part in (health, workers, runs):
        app.include_router(part.router)
    app.add_middleware(Guard, max_body_bytes=max_body_bytes)
    return app
