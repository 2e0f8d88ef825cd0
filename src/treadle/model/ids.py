"""Ids: lower-case UUIDv7 text, in order of creation within a process.

Layout of the 128 bits: 48 bits of epoch milliseconds, version, a 26-bit counter cut in two by
the variant bits, 48 random bits. The counter starts at a random value each millisecond, so ids
of one process sort in the order they were made and ids of two processes do not collide.
"""

from __future__ import annotations

import os
import random
import re
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_COUNTER_BITS = 26
_COUNTER_END = 1 << _COUNTER_BITS
_MAX_MS = (1 << 48) - 1
# Below the variant bits; and 2**64 over the golden ratio, odd, within them.
_LOW = (1 << 62) - 1
_STRIDE = 0x9E3779B97F4A7C15 & _LOW

_match_canonical = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").fullmatch
_match_loose = re.compile(
    r"(?:urn:uuid:)?\{?([0-9a-f]{8})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{12})\}?",
    re.IGNORECASE | re.ASCII,
).fullmatch


# Within a millisecond of such ids, so many to a microsecond: together they fill the counter.
_PER_US = 1 << 16


class _Source:
    """The process-wide state behind ``new_id``."""

    __slots__ = ("bits", "counter", "last", "lock", "ms", "prefix")

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        # A generator of our own: the global one may be seeded by the program or its tests.
        self.bits = random.Random(os.urandom(32)).getrandbits  # noqa: S311 - ids are no secrets
        self.lock = threading.Lock()
        self.ms = 0
        self.counter = 0
        self.prefix = ""
        self.last = 0


_source = _Source()

if hasattr(os, "register_at_fork"):  # pragma: no branch - absent on Windows only
    # A forked child must not repeat its parent's random bits, nor inherit a held lock.
    os.register_at_fork(after_in_child=_source.start)


def new_id() -> str:
    """Make an id that sorts after every id this process made before."""
    source = _source
    with source.lock:
        now = time.time_ns() // 1_000_000
        counter = source.counter + 1
        # A clock set back, and a full counter, both keep counting on from the last millisecond.
        if now > source.ms or counter >= _COUNTER_END:
            ms = source.ms = max(now, source.ms + 1)
            text = f"{ms:012x}"
            source.prefix = f"{text[:8]}-{text[8:]}-7"
            counter = source.bits(_COUNTER_BITS - 1)
        source.counter = counter
        prefix = source.prefix
    # The % operator: a third faster here than an f-string.
    return "%s%03x-%04x-%012x" % (prefix, counter >> 14, 0x8000 | counter & 0x3FFF, source.bits(48))  # noqa: UP031


def new_id_at(epoch_s: float) -> str:
    """Make an id of a given moment, that sorts after every other one made for that moment or an earlier one.

    The counter begins with the microsecond, so ids of two moments sort by these even if two processes made them.
    """
    source = _source
    first = round(epoch_s * 1_000_000) * _PER_US
    with source.lock:
        # Clocks of tests stand still, and may stand anywhere: only what was made just now is gone on from.
        value = source.last + 1 if first <= source.last < first + _PER_US * 1000 else first
        source.last = value
        ms, counter = divmod(value, _PER_US * 1000)
        text = f"{ms:012x}"
        return f"{text[:8]}-{text[8:]}-7{counter >> 14:03x}-{0x8000 | counter & 0x3FFF:04x}-{source.bits(48):012x}"


def step_id(run_id: str, step: int) -> str:
    """The id of one task of a workflow run.

    It has the run's time, so it lies in the run's partition, and follows from the run's id, so it need not be stored to
    be found. The low 62 bits are moved on by a multiple of an odd constant: no two steps of a run meet, and the ids of
    two runs do so no more likely than any two random ones.

    Args:
        run_id: a version 7 id.
        step: index of the task in its workflow, from 0.
    """
    return step_ids(run_id)(step)


def step_ids(run_id: str) -> Callable[[int], str]:
    """As `step_id`, for those who ask for many tasks of one run: what the run's id says is worked out once."""
    low = int(run_id[19:23] + run_id[24:], 16)
    start, top, head = low & _LOW, low & ~_LOW, run_id[:19]

    def of_step(step: int) -> str:
        text = "%016x" % (top | start + (step + 1) * _STRIDE & _LOW)
        return f"{head}{text[:4]}-{text[4:]}"

    return of_step


def is_id(text: str) -> bool:
    """Tell whether the text is a UUID in the one form used inside: lower case, 36 characters."""
    return _match_canonical(text) is not None


def canonical_id(text: str) -> str | None:
    """Bring any usual spelling of a UUID into the form used inside, or return None."""
    if _match_canonical(text) is not None:
        return text
    loose = _match_loose(text)
    return "-".join(loose.groups()).lower() if loose else None


def time_of(v7_id: str) -> float:
    """Epoch seconds, to the millisecond, at which a version 7 id was made."""
    return int(v7_id[:8] + v7_id[9:13], 16) / 1000


def id_at(epoch_s: float) -> str:
    """The smallest version 7 id of that millisecond: a bound for searching by time."""
    ms = min(max(round(epoch_s * 1_000_000) // 1000, 0), _MAX_MS)
    text = f"{ms:012x}"
    return f"{text[:8]}-{text[8:]}-7000-8000-000000000000"
