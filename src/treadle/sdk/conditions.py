"""What a task of a workflow waits for, or is skipped or cancelled by: events, sleeps, tests of outputs, and what is made
of them with `|` and `&`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import TYPE_CHECKING, Any, Generic, Literal, NoReturn, TypeAlias, TypeVar, overload

from treadle.model.durations import MAX_DURATION_MS, format_duration
from treadle.sdk.codec import OutputCodec
from treadle.sdk.options import milliseconds

if TYPE_CHECKING:
    from collections.abc import Iterable

    from treadle.sdk.steps import WorkflowTask

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

Since: TypeAlias = datetime | Literal["run", "wait"]

MAX_GROUPS = 64
"""Most groups of alternatives that one condition may come to."""
_LONGEST_KEY = 1024
_LONGEST_EXPRESSION = 4000
# Times before that mean something else on the wire.
_FIRST_MOMENT = datetime(1970, 1, 2, tzinfo=UTC)


class Condition:
    """Something that comes true, or does not. Combine with `|` (one is enough) and `&` (all are needed)."""

    __slots__ = ()

    def __or__(self, other: Condition) -> Condition:
        if not isinstance(other, Condition):
            return NotImplemented
        return AnyOf(_flat(AnyOf, self, other))

    def __and__(self, other: Condition) -> Condition:
        if not isinstance(other, Condition):
            return NotImplemented
        return AllOf(_flat(AllOf, self, other))

    def __bool__(self) -> NoReturn:
        # `a or b` would be `a` alone, in silence.
        raise TypeError(f"{self!r} is neither true nor false yet: combine conditions with | and &, not `or` and `and`")


@dataclass(frozen=True, slots=True)
class EventCondition(Condition, Generic[T_co]):
    """Met by a pushed event; made by `treadle.event`. `T_co` is what its payload is read as."""

    key: str
    where: str
    scope: str | None
    since: Since
    codec: OutputCodec = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class SleepCondition(Condition):
    """Met when a time has passed; made by `treadle.sleep`."""

    duration: timedelta


@dataclass(frozen=True, slots=True)
class OutputCondition(Condition):
    """A test of what another task of the workflow returned; made by `task.when(...)`."""

    task: WorkflowTask[Any, Any]
    expression: str


Atom: TypeAlias = EventCondition[Any] | SleepCondition | OutputCondition
Group: TypeAlias = tuple[Atom, ...]
"""Alternatives: one that is met is enough."""


@dataclass(frozen=True, slots=True)
class AnyOf(Condition):
    """Met when one of these is."""

    members: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class AllOf(Condition):
    """Met when all of these are."""

    members: tuple[Condition, ...]


def _flat(kind: type[AnyOf | AllOf], *conditions: Condition) -> tuple[Condition, ...]:
    """The members, with those of the same kind taken apart: a long chain must not be a deep one."""
    return tuple(chain.from_iterable(each.members if isinstance(each, kind) else (each,) for each in conditions))


@overload
def event(key: str, *, where: str = "", scope: str | None = None, since: Since = "run") -> EventCondition[Any]: ...
@overload
def event(
    key: str, *, where: str = "", scope: str | None = None, since: Since = "run", payload: type[T]
) -> EventCondition[T]: ...
def event(
    key: str, *, where: str = "", scope: str | None = None, since: Since = "run", payload: Any = Any
) -> EventCondition[Any]:
    """A condition that is met by an event that someone pushes, see `Treadle.push`.

    Args:
        key: The event's key, all of it.
        where: CEL over the event's payload, called `input`, and its metadata, called `additional_metadata`:
            `input.order_id == "7"`. Empty: any event of that key.
        scope: The event must have been pushed with this scope; None: with any, or none. `"${input.order_id}"` is
            worked out for each run, by CEL over its `input`, `additional_metadata` and `workflow_run_id`, when the task
            begins to wait: so an event is meant for one run of many.
        since: From when on an event counts: `"run"`, since the run began, also before the task began to wait;
            `"wait"`, only while the task waits; or a moment.
        payload: Type to read the payload as, for `ctx.event(...)`.

    Raises:
        ValueError: The key is empty or a pattern, a text is too long, or the moment has no time zone.
    """
    if not key.strip() or len(key) > _LONGEST_KEY:
        raise ValueError(f"event({key[:50]!r}): a key has 1 to {_LONGEST_KEY} characters")
    if "*" in key:
        raise ValueError(f"event({key!r}): a task waits for one key, not for a pattern; combine several with |")
    if len(where) > _LONGEST_EXPRESSION:
        raise ValueError(f"event({key!r}): where has {len(where)} characters, more than {_LONGEST_EXPRESSION}")
    if isinstance(since, datetime):
        if since.tzinfo is None:
            raise ValueError(f"event({key!r}): since={since} has no time zone")
        if since < _FIRST_MOMENT:
            raise ValueError(f"event({key!r}): since={since} is before 1970-01-02")
    elif since not in ("run", "wait"):
        raise ValueError(f'event({key!r}): since={since!r} is neither "run", "wait" nor a datetime')
    return EventCondition(key, where, scope or None, since, OutputCodec(f"event {key}", payload))


@overload
def sleep(duration: timedelta, /) -> SleepCondition: ...
@overload
def sleep(*, seconds: float = 0, minutes: float = 0, hours: float = 0, days: float = 0) -> SleepCondition: ...
def sleep(
    duration: timedelta | None = None,
    /,
    *,
    seconds: float = 0,
    minutes: float = 0,
    hours: float = 0,
    days: float = 0,
) -> SleepCondition:
    """A condition that is met when a time has passed since the task began to wait: since its last parent ended.

    Args:
        duration: The time, or use the others, which are added up.
        seconds: Seconds.
        minutes: Minutes.
        hours: Hours.
        days: Days of 24 hours.

    Raises:
        ValueError: The time is not positive, or longer than 292 years.
    """
    if duration is None:
        duration = timedelta(seconds=seconds, minutes=minutes, hours=hours, days=days)
    if not timedelta(0) < duration <= timedelta(milliseconds=MAX_DURATION_MS):
        raise ValueError(f"sleep({duration}) is out of range: use more than nothing, and at most 292 years")
    return SleepCondition(duration)


def check_expression(expression: str, where: str) -> str:
    """Return a CEL expression that must be there. Whether it is good is for the engine to say.

    Raises:
        ValueError: It is empty or too long.
    """
    if not expression.strip() or len(expression) > _LONGEST_EXPRESSION:
        raise ValueError(f"{where}: an expression has 1 to {_LONGEST_EXPRESSION} characters")
    return expression


def groups_of(condition: Condition, where: str) -> list[Group]:
    """The condition as groups that must all hold, in each of which one member is enough.

    Raises:
        ValueError: It comes to too many groups.
    """
    if isinstance(condition, AllOf):
        return _least(chain.from_iterable(groups_of(member, where) for member in condition.members), where)
    if isinstance(condition, AnyOf):
        found: list[Group] = [()]
        for member in condition.members:
            more = groups_of(member, where)
            found = _least((left + right for left in found for right in more), where)
        return found
    if isinstance(condition, EventCondition | SleepCondition | OutputCondition):
        return [(condition,)]
    raise TypeError(
        f"{where}: {condition!r} is no condition: use event(...), sleep(...), task.when(...), and what | and & make of "
        "them"
    )


def _least(groups: Iterable[Group], where: str) -> list[Group]:
    """Without repetitions, and without groups that hold whenever another one does."""
    distinct = [tuple(dict.fromkeys(group)) for group in groups]
    kept: list[tuple[int, frozenset[Atom]]] = []
    for place in sorted(range(len(distinct)), key=lambda at: len(distinct[at])):
        group = frozenset(distinct[place])
        if any(smaller <= group for _, smaller in kept):
            continue
        kept.append((place, group))
        # Groups come by size, so one that is kept stays: there is no need to look at thousands more.
        if len(kept) > MAX_GROUPS:
            raise ValueError(
                f"{where}: this comes to more than {MAX_GROUPS} groups of alternatives when `|` is multiplied out over "
                "`&`: write it as fewer alternatives, or move part of it to another task"
            )
    return [distinct[place] for place, _ in sorted(kept, key=lambda entry: entry[0])]


def data_keys(groups: Iterable[Group]) -> dict[Atom, str]:
    """For each sleep and event the name under which a run tells what met it: its key, or `key#2` for a second one."""
    keys: dict[Atom, str] = {}
    used: set[str] = set()
    for atom in chain.from_iterable(groups):
        if atom in keys or isinstance(atom, OutputCondition):
            continue
        stem = atom.key if isinstance(atom, EventCondition) else f"sleep:{duration_text(atom)}"
        key, number = stem, 1
        while key in used:
            number += 1
            key = f"{stem}#{number}"
        used.add(key)
        keys[atom] = key
    return keys


def duration_text(condition: SleepCondition) -> str:
    """The time of a sleep as it is written on the wire."""
    return format_duration(milliseconds(condition.duration))
