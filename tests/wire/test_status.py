import grpc
import pytest

from treadle.model import errors
from treadle.model.errors import InvalidInput, TreadleError, Unsupported
from treadle.wire.status import code_number, error_of, status_of

# Those of the module: other tests may have loaded folders that add their own.
KINDS = [kind for kind in TreadleError.__subclasses__() if kind.__module__ == errors.__name__]


def test_every_error_has_a_status_of_its_own() -> None:
    statuses = {status_of(kind("field", "message")) for kind in KINDS}
    assert len(statuses) == len(KINDS)
    assert grpc.StatusCode.INTERNAL not in statuses


def test_the_statuses_that_clients_rely_on() -> None:
    assert status_of(InvalidInput("", "")) is grpc.StatusCode.INVALID_ARGUMENT
    assert status_of(Unsupported("", "")) is grpc.StatusCode.UNIMPLEMENTED
    assert status_of(TreadleError("", "")) is grpc.StatusCode.INTERNAL
    assert code_number(InvalidInput("", "")) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_comes_back_from_its_number(kind: type[TreadleError]) -> None:
    error = kind("field", "message")
    again = error_of(code_number(error), error.field, error.message)
    assert (type(again), again.field, again.message) == (kind, "field", "message")


def test_a_number_without_an_error_is_still_an_error() -> None:
    assert type(error_of(13, "", "boom")) is TreadleError
