"""The errors of the model as gRPC statuses, and back."""

from __future__ import annotations

import grpc

from treadle.model.errors import (
    Conflict,
    Exhausted,
    InvalidInput,
    NotFound,
    PermissionDenied,
    TreadleError,
    Unavailable,
    Unsupported,
)
from treadle.wire.gen.treadle.v1 import runs_pb2

_CODES: dict[type[TreadleError], grpc.StatusCode] = {
    InvalidInput: grpc.StatusCode.INVALID_ARGUMENT,
    NotFound: grpc.StatusCode.NOT_FOUND,
    Conflict: grpc.StatusCode.ALREADY_EXISTS,
    Unsupported: grpc.StatusCode.UNIMPLEMENTED,
    Exhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    Unavailable: grpc.StatusCode.UNAVAILABLE,
}
_ERRORS: dict[int, type[TreadleError]] = {code.value[0]: error for error, code in _CODES.items()}


def status_of(error: TreadleError) -> grpc.StatusCode:
    """The status that tells a caller about this error."""
    return _CODES.get(type(error), grpc.StatusCode.INTERNAL)


def code_number(error: TreadleError) -> int:
    """The number of that status, as ``treadle.v1.Problem`` carries it."""
    number: int = status_of(error).value[0]
    return number


def problem_of(error: BaseException) -> runs_pb2.Problem:
    """What is told of an item that failed alone."""
    problem = error if isinstance(error, TreadleError) else Unavailable("engine", str(error))
    return runs_pb2.Problem(code=code_number(problem), field=problem.field, message=problem.message)


def error_of(code: int, field: str, message: str) -> TreadleError:
    """The error that a status number, e.g. of a ``treadle.v1.Problem``, stands for."""
    return _ERRORS.get(code, TreadleError)(field, message)
