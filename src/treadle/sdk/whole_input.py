"""A workflow's input: one value, which is a JSON object."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from treadle.model.errors import InvalidInput
from treadle.sdk.codec import adapter_for, invalid_input, problem_in, type_name


class WholeInput:
    """Between the input as its type and as JSON. `task` is the workflow's name: what errors name as their field."""

    def __init__(self, workflow: str, annotation: Any) -> None:
        """Read the type; None: the workflow takes no input.

        Raises:
            TypeError: The type cannot travel as JSON, or not as an object.
        """
        self.task: str = workflow
        self.annotation: Any = annotation
        self._adapter = None if annotation is None else adapter_for(f"workflow {workflow}", "input", annotation)
        schema = self.json_schema()
        kind = "object" if schema is None else schema.get("type", "object")
        if kind != "object":
            raise TypeError(
                f"workflow {workflow}: its input is of type {type_name(annotation)}, which in JSON "
                f"is a {kind}: use a type with fields, such as a pydantic model, a dataclass or a TypedDict"
            )

    def encode(self, value: Any) -> bytes:
        """The JSON object.

        Raises:
            InvalidInput: The value does not fit the type, or cannot be JSON.
        """
        adapter = self._adapter
        if adapter is None:
            if value is not None:
                raise InvalidInput(self.task, "takes no input: declare it with app.workflow(..., input=...)")
            return b"{}"
        try:
            data = adapter.dump_json(value, warnings="error")
        except PydanticSerializationError:
            # Not of the type as it stands: convert it if that is possible.
            try:
                value = adapter.validate_python(value)
                data = adapter.dump_json(value, warnings="error")
            except ValidationError as error:
                raise invalid_input(self.task, error) from None
            except PydanticSerializationError as error:
                raise InvalidInput(self.task, f"the input cannot be JSON: {error}") from None
        if problem := problem_in(data, adapter, value):
            raise InvalidInput(self.task, f"the input {problem}")
        if not data.startswith(b"{"):
            raise InvalidInput(self.task, f"the input is no JSON object but {data[:30].decode(errors='replace')}")
        return data

    def decode(self, data: bytes) -> Any:
        """The value.

        Raises:
            InvalidInput: The input does not fit.
        """
        if self._adapter is None:
            return None
        try:
            return self._adapter.validator.validate_json(data or b"{}")
        except ValidationError as error:
            raise invalid_input(self.task, error) from None

    def json_schema(self) -> dict[str, Any] | None:
        """A JSON schema, or None when the type has none."""
        if self._adapter is None:
            return {"type": "object", "properties": {}}
        try:
            return self._adapter.json_schema()
        except Exception:  # noqa: BLE001 - some types of users have no schema, and say so in many ways
            return None


class StepInput:
    """What a function of a workflow is called with."""

    def __init__(self, whole: WholeInput, *, wanted: bool) -> None:
        """Make it.

        Args:
            whole: The workflow's input.
            wanted: Whether the function takes it.
        """
        self.task: str = whole.task
        self._whole = whole
        self._wanted = wanted

    def decode(self, data: bytes) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments."""
        return ((self._whole.decode(data),), {}) if self._wanted else ((), {})
