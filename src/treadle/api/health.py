"""Is the process alive, is it ready, and what is it. The only routes without a token."""

import json
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Response

from treadle.api.callers import Backend
from treadle.api.errors import error_response

router = APIRouter()


@router.get("/api/live")
async def live() -> dict[str, str]:
    return {"status": "ok"}


@router.get("/api/ready")
async def ready(backend: Backend) -> Response:
    reason = backend.why_not_ready()
    if reason is not None:
        return error_response(HTTPStatus.SERVICE_UNAVAILABLE, ("", reason))
    warning = backend.warning()
    body = {"status": "ok"} if warning is None else {"status": "ok", "warning": warning}
    return Response(json.dumps(body), media_type="application/json")


@router.get("/api/v1/meta")
async def meta(backend: Backend) -> dict[str, Any]:
    return {
        "auth": {"schemes": []},
        "allowSignup": False,
        "allowInvites": False,
        "allowCreateTenant": False,
        "allowChangePassword": False,
        "observabilityEnabled": False,
        "prometheusServerEnabled": False,
        "authDisabled": False,
        "embedded": False,
        "engine": "treadle",
        "version": backend.version,
    }
