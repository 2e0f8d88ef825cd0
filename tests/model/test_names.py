import pytest

from treadle.model.errors import InvalidInput
from treadle.model.names import MAX_NAME, check_name


@pytest.mark.parametrize("name", ["a", "A.b-c_9", "..", "x" * MAX_NAME])
def test_good_names(name: str) -> None:
    assert check_name(name, "name") == name


@pytest.mark.parametrize("name", ["", " ", "a b", "a:b", "é", "a\n", "a/b", "x" * (MAX_NAME + 1), "a\0"])
def test_bad_names_are_refused_by_field(name: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_name(name, "tasks[0].readable_id")
    assert caught.value.field == "tasks[0].readable_id"
