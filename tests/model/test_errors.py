import copy
import pickle

import pytest

from treadle.model import errors
from treadle.model.errors import InvalidInput, TreadleError


def test_the_text_names_the_field_when_there_is_one() -> None:
    assert str(InvalidInput("tasks[2].timeout", "is zero")) == "tasks[2].timeout: is zero"
    assert str(InvalidInput("", "is zero")) == "is zero"


# Those of the module: other tests may have loaded folders that add their own.
KINDS = [kind for kind in TreadleError.__subclasses__() if kind.__module__ == errors.__name__]


@pytest.mark.parametrize("kind", KINDS)
def test_errors_survive_copying_between_processes(kind: type[TreadleError]) -> None:
    error = kind("field", "message")
    for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert (type(twin), twin.field, twin.message) == (kind, "field", "message")
