import copy
import pickle

import pytest

from treadle.model import errors
from treadle.model.errors import InvalidInput, TreadleError


def test_the_text_names_the_field_when_there_is_one() -> None:
    assert str(InvalidInput("tasks[2].timeout", "is zero")) == "tasks[2].timeout: is zero"
    assert str(InvalidInput("", "is zero")) == "is zero"


@pytest.mark.parametrize("kind", TreadleError.__subclasses__())
def test_errors_survive_copying_between_processes(kind: type[TreadleError]) -> None:
    error = kind("field", "message")
    for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert (type(twin), twin.field, twin.message) == (kind, "field", "message")
    assert kind.__module__ == errors.__name__
