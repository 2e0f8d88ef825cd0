"""Every statement is one that Postgres accepts, called with as many parameters as it has."""

import ast
import re
from functools import cache
from importlib.resources import files
from typing import NamedTuple

import asyncpg
import pytest

from treadle.storage.load import statements

FOLDER = files("treadle.storage")
STEMS = sorted(
    entry.name.removesuffix(".sql") for entry in FOLDER.joinpath("sql").iterdir() if entry.name.endswith(".sql")
)
NAMES = [(stem, name) for stem in STEMS for name in statements(stem)]
MAX_BYTES = 15 * 1024


class Call(NamedTuple):
    """How a twin calls its statement."""

    method: str
    parameters: int


@cache
def calls(stem: str) -> dict[str, list[Call]]:
    """The calls `conn.<method>(_SQL["name"], ...)` of a twin module."""
    found: dict[str, list[Call]] = {}
    for node in ast.walk(ast.parse(FOLDER.joinpath(f"{stem}.py").read_text())):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or not node.args:
            continue
        first = node.args[0]
        if isinstance(first, ast.Subscript) and ast.unparse(first.value) == "_SQL":
            name = ast.literal_eval(first.slice)
            found.setdefault(name, []).append(Call(node.func.attr, len(node.args) - 1))
    return found


def kind(stem: str, name: str) -> str:
    text = FOLDER.joinpath("sql", f"{stem}.sql").read_text()
    [found] = re.findall(rf"^-- name: {name} :(\w+)", text, re.MULTILINE)
    return str(found)


async def test_every_statement_prepares_with_the_parameters_of_its_twin(database_url: str) -> None:
    conn = await asyncpg.connect(database_url)
    wrong = []
    for stem, name in NAMES:
        prepared = await conn.prepare(statements(stem)[name])
        wanted = len(prepared.get_parameters())
        given = [call.parameters for call in calls(stem).get(name, [])]
        if not given or set(given) != {wanted}:
            wrong.append(f"{stem}.{name} takes {wanted}, its twin gives {given}")
    await conn.close()
    assert wrong == []


@pytest.mark.parametrize(("stem", "name"), NAMES)
def test_a_twin_calls_its_statement_as_the_header_says(stem: str, name: str) -> None:
    methods = {call.method for call in calls(stem)[name]}
    allowed = {"exec": {"execute"}, "one": {"fetchrow"}, "many": {"fetch"}}[kind(stem, name)]
    assert methods <= allowed, f"{stem}.{name} is :{kind(stem, name)} and called with {methods}"


@pytest.mark.parametrize(("stem", "name"), NAMES)
def test_no_statement_is_too_long_for_the_drivers_cache(stem: str, name: str) -> None:
    text = statements(stem)[name]
    assert len(text.encode()) <= MAX_BYTES
    assert text.startswith(f"/* {stem}.{name} */ ")


def test_names_are_unique_so_that_pg_stat_activity_is_clear() -> None:
    assert len(NAMES) == len(set(NAMES))
    assert {name for stem in STEMS for name in calls(stem)} == {name for _, name in NAMES}


@pytest.mark.parametrize(("stem", "name"), NAMES)
def test_every_parameter_is_cast(stem: str, name: str) -> None:
    bare = re.findall(r"\$\d+(?!\d|::)", re.sub(r"--.*", "", statements(stem)[name]))
    assert bare == []
