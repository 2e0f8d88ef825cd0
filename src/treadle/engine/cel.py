"""CEL expressions: compiled once, evaluated over JSON that is parsed once."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import cel
import orjson

from treadle.engine.cel_functions import FUNCTIONS
from treadle.engine.cel_work import Footprint, Work, footprint, work_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MAX_LENGTH = 4000
"""Characters of an expression. The library's parser recurses: chains of some ten thousand end the process."""

MAX_PROGRAMS = 10_000
"""Compiled expressions kept; those that were not needed for the longest time go first."""

_MAX_REASON = 300


class ExpressionFailed(Exception):  # noqa: N818 - the name says what is wrong, as in model/errors.py
    """An expression that cannot be evaluated; `reason` says why, in one short line."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Json:
    """JSON bytes that are parsed when an expression first looks at them, and then no more."""

    __slots__ = ("_footprint", "_raw", "_value")

    def __init__(self, raw: bytes | str | None) -> None:
        self._raw = raw or b"{}"
        self._value: object = None
        self._footprint: Footprint | None = None

    @property
    def value(self) -> object:
        """What it says."""
        if self._value is None:
            try:
                self._value = orjson.loads(self._raw)
            except orjson.JSONDecodeError as error:
                raise ExpressionFailed(f"the data is no JSON: {error}") from None
        return self._value

    @property
    def footprint(self) -> Footprint:
        """How large it is."""
        if self._footprint is None:
            self._footprint = footprint(self.value)
        return self._footprint


class Variables:
    """What expressions about one object may name.

    The library's copy of each variable is made when an expression first names it, and kept: evaluating many expressions
    about one object costs that once. To be used by one thread, and not to be kept longer than the object itself.
    """

    __slots__ = ("_context", "_named", "_present")

    def __init__(self, named: Mapping[str, Any]) -> None:
        self._named = named
        self._context: cel.Context | None = None
        self._present: set[str] = set()

    def plus(self, **named: Any) -> Variables:
        """These and others, sharing what has been parsed."""
        return Variables({**self._named, **named})

    def context(self, names: Iterable[str]) -> cel.Context:
        """What a program is run with, holding at least these names as far as they are known."""
        context = self._context
        if context is None:
            context = self._context = cel.Context(functions=FUNCTIONS)
        for name in names:
            if name not in self._present and name in self._named:
                context.add_variable(name, self._value(name))
                self._present.add(name)
        return context

    def context_of_doubles(self, names: Iterable[str]) -> cel.Context:
        """The same with every number a double."""
        known = {name: _doubles(self._value(name)) for name in names if name in self._named}
        return cel.Context(known, FUNCTIONS)

    def footprint(self, names: Iterable[str]) -> Footprint:
        """How large the named ones are together."""
        total = Footprint(0, 0, 0)
        for name in names:
            if name in self._named:
                value = self._named[name]
                total += value.footprint if isinstance(value, Json) else footprint(value)
        return total

    def _value(self, name: str) -> object:
        value = self._named[name]
        return value.value if isinstance(value, Json) else value


class Program(NamedTuple):
    """A compiled expression."""

    run: cel.Program
    names: frozenset[str]
    functions: frozenset[str]
    work: Work


@lru_cache(maxsize=MAX_PROGRAMS)
def compile_expression(expression: str) -> Program:
    """Compile, or find compiled.

    Raises:
        ExpressionFailed: It is too long, or no CEL.
    """
    if len(expression) > MAX_LENGTH:
        raise ExpressionFailed(f"is {len(expression)} characters long; at most {MAX_LENGTH} are allowed")
    try:
        program = cel.compile(expression)
    except ValueError as error:
        raise ExpressionFailed(f"is no CEL expression: {_syntax_error(error)}") from None
    functions = frozenset(program.functions())
    return Program(program, frozenset(program.variables()), functions, work_of(expression, functions))


def evaluate_bool(expression: str, variables: Variables | Mapping[str, Any]) -> bool:
    """Whether an expression holds. What an empty one means is for the caller to say.

    Raises:
        ExpressionFailed: It cannot be evaluated over these, or gives no truth value.
    """
    value = _evaluate(expression, variables)
    if value is True or value is False:
        return value
    raise ExpressionFailed(f"gives {_kind(value)}, not a truth value")


def evaluate_text(expression: str, variables: Variables | Mapping[str, Any]) -> str:
    """The text that an expression gives: a key.

    Raises:
        ExpressionFailed: It cannot be evaluated over these, or gives no text.
    """
    value = _evaluate(expression, variables)
    if isinstance(value, str):
        return value
    raise ExpressionFailed(f"gives {_kind(value)}, not a text")


def event_variables(
    *, payload: bytes, metadata: str | None, event_id: str, event_key: str, filter_payload: bytes | None = None
) -> Variables:
    """What expressions about an event see.

    Args:
        filter_payload: JSON object that belongs to the filter which asks; none otherwise.
    """
    return Variables(
        {
            "input": Json(payload),
            "additional_metadata": Json(metadata),
            "payload": Json(filter_payload),
            "event_id": event_id,
            "event_key": event_key,
        }
    )


def run_variables(*, input: bytes | None, metadata: str | None, workflow_run_id: str) -> Variables:  # noqa: A002 - the field's word for it
    """What expressions about a run see."""
    return Variables({"input": Json(input), "additional_metadata": Json(metadata), "workflow_run_id": workflow_run_id})


def parent_variables(run: Variables, output: bytes | Json | None) -> Variables:
    """What a condition on a parent sees: its output (JSON), beside what is known of the run."""
    return run.plus(output=output if isinstance(output, Json) else Json(output))


def _evaluate(expression: str, variables: Variables | Mapping[str, Any]) -> object:
    program = compile_expression(expression)
    seen = variables if isinstance(variables, Variables) else Variables(variables)
    try:
        program.work.check(seen.footprint(program.names))
        context = seen.context(program.names)
        try:
            return program.run.execute(context)
        except TypeError:
            # CEL does not mix integers and doubles. JSON has but one kind of number, and parties that read it as double
            # write 1.5 * input.amount: so it is tried that way, too.
            return program.run.execute(seen.context_of_doubles(program.names))
    except ExpressionFailed:
        raise
    except KeyError as error:
        raise ExpressionFailed(f"there is no key {error}"[:_MAX_REASON]) from None
    except Exception as error:  # noqa: BLE001 - whatever the library objects to is the expression's failure
        raise ExpressionFailed(_reason(error)) from None
    except BaseException as error:
        # A panic within the library derives from no Exception, and ends nothing but this evaluation.
        if type(error).__name__ != "PanicException":
            raise
        raise ExpressionFailed(_reason(error)) from None


def _doubles(value: object) -> object:
    match value:
        case bool():
            return value
        case int():
            return float(value)
        case list():
            return [_doubles(item) for item in value]
        case dict():
            return {key: _doubles(item) for key, item in value.items()}
    return value


def _kind(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a truth value"
    if isinstance(value, (int, float)):
        return "a number"
    if isinstance(value, str):
        return "a text"
    if isinstance(value, list):
        return "a list"
    return "a map" if isinstance(value, dict) else f"a {type(value).__name__}"


_advice = re.compile(
    r"\.? *(?:Check (?:that|function)|CEL does not coerce|This expression|Python function ').*", re.DOTALL
)


def _reason(error: BaseException) -> str:
    text = _advice.sub("", str(error)).strip() or type(error).__name__
    return " ".join(text.split())[:_MAX_REASON]


def _syntax_error(error: ValueError) -> str:
    text = str(error)
    # The parser repeats the whole expression before it says what is wrong with it.
    text = text[text.find("ERROR: ") + len("ERROR: ") :] if "ERROR: " in text else text
    return text.split("\n", 1)[0][:_MAX_REASON]
