"""One shape for everything that goes wrong: `{"errors": [{"code", "field", "description"}]}`."""

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from treadle.model import errors as model

_log = logging.getLogger(__name__)

_STATUS: dict[type[model.TreadleError], HTTPStatus] = {
    model.InvalidInput: HTTPStatus.BAD_REQUEST,
    model.PermissionDenied: HTTPStatus.FORBIDDEN,
    model.NotFound: HTTPStatus.NOT_FOUND,
    model.Conflict: HTTPStatus.CONFLICT,
    model.Exhausted: HTTPStatus.TOO_MANY_REQUESTS,
    model.Unsupported: HTTPStatus.NOT_IMPLEMENTED,
    model.Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
}


def error_response(status: HTTPStatus, *problems: tuple[str, str]) -> JSONResponse:
    """An answer that names for each problem the field to blame ("" when there is none) and what is wrong."""
    entries: list[dict[str, Any]] = []
    for field, description in problems:
        entry: dict[str, Any] = {"code": int(status), "description": description}
        if field:
            entry["field"] = field
        entries.append(entry)
    return JSONResponse({"errors": entries}, status_code=status)


def install_error_answers(app: FastAPI) -> None:
    """Answer every failure in the one shape, also those of the framework."""

    @app.exception_handler(model.TreadleError)
    async def _known(_request: Request, problem: model.TreadleError) -> JSONResponse:
        status = _STATUS.get(type(problem), HTTPStatus.INTERNAL_SERVER_ERROR)
        return error_response(status, (problem.field, problem.message))

    @app.exception_handler(RequestValidationError)
    async def _malformed(_request: Request, problem: RequestValidationError) -> JSONResponse:
        return error_response(
            HTTPStatus.BAD_REQUEST, *((_field(error["loc"]), str(error["msg"])) for error in problem.errors())
        )

    @app.exception_handler(HTTPException)
    async def _refused(_request: Request, problem: HTTPException) -> JSONResponse:
        status = HTTPStatus(problem.status_code)
        said = problem.detail or status.phrase
        if status is HTTPStatus.NOT_FOUND and problem.detail == status.phrase:
            said = "there is no such resource on this engine"
        return error_response(status, ("", said))

    @app.exception_handler(Exception)
    async def _unforeseen(request: Request, problem: Exception) -> JSONResponse:
        # What went wrong is for the log; the caller learns no internals.
        _log.error("request failed: %s %s", request.method, request.url.path, exc_info=problem)
        return error_response(HTTPStatus.INTERNAL_SERVER_ERROR, ("", "the engine failed to answer this request"))


def _field(location: tuple[Any, ...]) -> str:
    # The first part says where the value came from (path, query, body), which a caller does not name.
    return ".".join(str(part) for part in location[1:]) or str(location[0])
