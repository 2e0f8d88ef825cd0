"""Between Python values and the JSON on the wire, through pydantic adapters built once per task."""

from __future__ import annotations

import inspect
import math
import re
from typing import TYPE_CHECKING, Annotated, Any, NotRequired, get_args, get_origin

from pydantic import PydanticSchemaGenerationError, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, from_json
from typing_extensions import TypedDict, get_type_hints

from treadle.model.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# An odd number of backslashes before u0000; with an even number the text is a backslash and "u0000".
_has_nul = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000").search
_MAX_WALK = 200
_SHOWN_PROBLEMS = 3
_NONE_FITS = (Any, type(None))
_EXACT = frozenset({int, str, bool})
"""Types whose own values are what they say: pydantic need not be asked whether they are, which costs more than all else."""

# The functional form with names known only at run time: beyond what type checkers follow.
_make_record: Any = TypedDict


class BadOutput(Exception):  # noqa: N818 - the name says what is wrong
    """What a task returned cannot be stored as JSON, or is not what the task declares."""


class InputCodec:
    """A function's parameters as one JSON object, by name."""

    def __init__(self, task: str, function: Callable[..., object], skip: int, hints: Mapping[str, Any]) -> None:
        """Read the parameters.

        Args:
            task: The task's name, for messages.
            function: The user's function.
            skip: How many leading parameters are not input (1 for an injected context).
            hints: Resolved annotations.

        Raises:
            TypeError: A parameter is of a kind or type that cannot travel as JSON.
        """
        self.task = task
        parameters = [
            parameter.replace(annotation=hints.get(parameter.name, parameter.empty))
            for parameter in list(inspect.signature(function).parameters.values())[skip:]
        ]
        self.signature: inspect.Signature = inspect.Signature(parameters)
        fields: dict[str, Any] = {}
        self._positional: list[str] = []
        self._spread: str | None = None
        for parameter in parameters:
            name = parameter.name
            if parameter.kind is parameter.VAR_POSITIONAL:
                raise TypeError(f"task {task}: *{name} has no name for each value: take a list instead")
            if parameter.kind is parameter.VAR_KEYWORD:
                self._spread = name
                continue
            if parameter.kind is parameter.POSITIONAL_ONLY:
                self._positional.append(name)
            annotation = hints.get(name, Any)
            fields[name] = annotation if parameter.default is parameter.empty else NotRequired[annotation]
        self.names: frozenset[str] = frozenset(fields)
        self.required: frozenset[str] = frozenset(
            p.name for p in parameters if p.default is p.empty and p.name in fields
        )
        self._extra_adapter: TypeAdapter[Any] | None = None
        if self._spread is not None:
            value_type: Any = hints.get(self._spread, Any)
            self._extra_adapter = adapter_for(f"task {task}", self._spread, dict[str, value_type])
        self._adapter = _record_adapter(task, fields) if fields else None
        self._exact: dict[str, Any] = {
            name: hints[name] for name in fields if isinstance(hints.get(name), type) and hints[name] in _EXACT
        }
        # A task of one plain parameter list needs no argument juggling when it is called by name only.
        self._simple = not self._positional and self._spread is None

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """The given arguments by name; defaults stay away: the worker's code knows them.

        Raises:
            TypeError: The arguments do not fit the function.
        """
        if not args and self._simple and kwargs.keys() <= self.names and kwargs.keys() >= self.required:
            return kwargs
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.task}: {error}; it takes {self.signature}") from None
        values = dict(bound.arguments)
        if self._spread is not None:
            values.update(values.pop(self._spread, {}))
        return values

    def bind_mapping(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """As `bind`, for inputs given as a mapping (bulk starts, JSON from elsewhere)."""
        if values.keys() == self.names:
            return dict(values)
        unknown = values.keys() - self.names
        if unknown and self._spread is None:
            raise InvalidInput(f"{self.task}.{min(unknown)}", f"is no parameter; the task takes {self.signature}")
        if missing := self.required - values.keys():
            raise InvalidInput(f"{self.task}.{min(missing)}", "is missing and has no default")
        return dict(values)

    def encode(self, values: dict[str, Any]) -> bytes:
        """The JSON object of the arguments.

        Raises:
            InvalidInput: A value does not fit its parameter's type, or cannot be JSON. The field is `task.parameter`.
        """
        if not values:
            return b"{}"
        exact = self._exact
        for name, value in values.items():
            if type(value) is not exact.get(name):
                break
        else:
            data = self._dump_exact(values)
            if data is not None:
                return data
        own, extra = values, None
        if self._extra_adapter is not None:
            own = {name: value for name, value in values.items() if name in self.names}
            extra = {name: value for name, value in values.items() if name not in self.names}
        data = self._dump(self._adapter, own) if self._adapter is not None and own else b"{}"
        if extra:
            more = self._dump(self._extra_adapter, extra)
            data = more if data == b"{}" else data[:-1] + b"," + more[1:]
        return data

    def _dump_exact(self, values: dict[str, Any]) -> bytes | None:
        """JSON of values that are of the very types declared; None when there is something about them all the same."""
        assert self._adapter is not None  # noqa: S101 - for the type checker
        try:
            data = self._adapter.serializer.to_json(values)
        except PydanticSerializationError:
            return None
        return None if b"\\u0000" in data else data

    def _dump(self, adapter: TypeAdapter[Any] | None, values: dict[str, Any]) -> bytes:
        assert adapter is not None  # noqa: S101 - for the type checker
        try:
            data = adapter.dump_json(values, warnings="error")
        except PydanticSerializationError:
            # Not of the declared type as it stands: a dict for a model, a text for a date. Convert if that is possible.
            try:
                values = adapter.validate_python(values)
                data = adapter.dump_json(values, warnings="error")
            except ValidationError as error:
                raise invalid_input(self.task, error) from None
            except PydanticSerializationError as error:
                raise InvalidInput(self.task, f"the input cannot be JSON: {error}") from None
        if problem := problem_in(data, adapter, values):
            raise InvalidInput(self.task, f"the input {problem}")
        return data

    def decode(self, data: bytes) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments for the function: positional-only ones, and the others by name.

        Names that the function does not know are left out: a newer caller may send more.

        Raises:
            InvalidInput: The input does not fit. The field is `task.parameter`.
        """
        if data == b"{}" and not self.required:
            return (), {}
        try:
            values = self._adapter.validator.validate_json(data) if self._adapter is not None else {}
            if self._extra_adapter is not None:
                everything = from_json(data)
                extra = {name: value for name, value in everything.items() if name not in self.names}
                values = {**values, **self._extra_adapter.validate_python(extra)}
        except ValidationError as error:
            raise invalid_input(self.task, error) from None
        if not self._positional:
            return (), values
        # A gap among positional-only arguments cannot be passed on: what follows it takes its default too.
        given: list[Any] = []
        for name in self._positional:
            if name not in values:
                break
            given.append(values[name])
        return tuple(given), {name: value for name, value in values.items() if name not in self._positional}

    def json_schema(self) -> dict[str, Any] | None:
        """A JSON schema of the input, or None when a parameter's type has none."""
        if self._adapter is None:
            return {"type": "object", "properties": {}}
        try:
            return self._adapter.json_schema()
        except Exception:  # noqa: BLE001 - it belongs to the caller
            return None


class OutputCodec:
    """A function's return value as JSON."""

    def __init__(self, task: str, annotation: Any) -> None:
        self.task = task
        self.annotation = annotation
        self._adapter = adapter_for(f"task {task}", "return value", annotation)
        self._exact = annotation if isinstance(annotation, type) and annotation in _EXACT else None

    def encode(self, value: Any) -> bytes:
        """JSON of the value.

        Raises:
            BadOutput: It is not what the task declares, or holds NaN, infinity, NUL or half a character.
        """
        if value is None and (self.annotation is None or self.annotation in _NONE_FITS):
            return b"null"
        try:
            if type(value) is self._exact:
                data = self._adapter.serializer.to_json(value)
                if b"\\u0000" not in data:
                    return data
            else:
                data = self._adapter.dump_json(value, warnings="error")
        except PydanticSerializationError:
            try:
                value = self._adapter.validate_python(value)
                data = self._adapter.dump_json(value, warnings="error")
            except ValidationError as error:
                raise BadOutput(
                    f"{self.task} returned {_short(value)}, which is not the {type_name(self.annotation)} it declares: "
                    f"{error.errors(include_url=False)[0]['msg']}"
                ) from None
            except PydanticSerializationError as error:
                raise BadOutput(f"{self.task} returned {_short(value)}, which cannot be JSON: {error}") from None
        if problem := problem_in(data, self._adapter, value):
            raise BadOutput(f"{self.task} returned a value that {problem}")
        return data

    def decode(self, data: bytes) -> Any:
        """The value of a stored output.

        Raises:
            InvalidInput: The output is not of the declared type, e.g. because the code has changed since.
        """
        try:
            return self._adapter.validator.validate_json(data or b"null")
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in problem["loc"])
            raise InvalidInput(
                f"{self.task} result" + (f".{where}" if where else ""),
                f"is not the declared {type_name(self.annotation)}: {problem['msg']}",
            ) from None


def resolve_hints(function: Callable[..., object]) -> dict[str, Any]:
    """The function's annotations as types.

    Raises:
        TypeError: An annotation names something that does not exist where the function is defined.
    """
    try:
        return get_type_hints(function, include_extras=True)
    except NameError as error:
        name = getattr(function, "__qualname__", function)
        raise TypeError(
            f"{name}: an annotation cannot be resolved: {error}. Types of task parameters must be importable at run "
            "time, in the module's own namespace: not under `if TYPE_CHECKING`, not inside a function"
        ) from None


def _record_adapter(task: str, fields: Mapping[str, Any]) -> TypeAdapter[Any]:
    try:
        return TypeAdapter(_make_record(f"{task} input", fields))
    except PydanticSchemaGenerationError:
        for name, annotation in fields.items():  # the one to blame raises
            adapter_for(
                f"task {task}", name, get_args(annotation)[0] if get_origin(annotation) is NotRequired else annotation
            )
        raise


def adapter_for(whose: str, what: str, annotation: Any) -> TypeAdapter[Any]:
    """The adapter of a type.

    Raises:
        TypeError: It cannot travel as JSON.
    """
    try:
        return TypeAdapter(annotation)
    except PydanticSchemaGenerationError:
        raise TypeError(
            f"{whose}: {what} of type {type_name(annotation)} cannot travel as JSON: use a pydantic model, a dataclass, "
            "a TypedDict or a plain type"
        ) from None


def invalid_input(task: str, error: ValidationError) -> InvalidInput:
    """What pydantic has found, by the names that the caller knows. The field is `task.parameter`."""
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    first = ".".join(str(part) for part in problems[0]["loc"]) if problems else ""
    texts = [f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in problems[1:_SHOWN_PROBLEMS]]
    more = len(problems) - _SHOWN_PROBLEMS
    message = "; ".join([problems[0]["msg"] if problems else str(error), *texts])
    return InvalidInput(f"{task}.{first}" if first else task, message + (f"; and {more} more" if more > 0 else ""))


def problem_in(data: bytes, adapter: TypeAdapter[Any], value: Any) -> str | None:
    """What is wrong with JSON that pydantic has written; cheap unless there are signs of trouble."""
    if b"\\u0000" in data and _has_nul(data):
        return "holds the NUL character (\\u0000), which cannot be stored"
    # Pydantic writes NaN and the infinities as null unless told otherwise, which would lose them silently.
    if (b"null" in data or b"NaN" in data or b"Infinity" in data) and _holds_nan(adapter.dump_python(value), 0):
        return "holds NaN or infinity, which JSON does not have: use None, or a text"
    return None


def _holds_nan(value: Any, depth: int) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    if depth > _MAX_WALK:
        return False
    if isinstance(value, dict):
        return any(_holds_nan(item, depth + 1) for item in value.values())
    if isinstance(value, list | tuple | set | frozenset):
        return any(_holds_nan(item, depth + 1) for item in value)
    return False


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


def type_name(annotation: Any) -> str:
    """A type as people write it."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return getattr(annotation, "__name__", None) or str(annotation)
