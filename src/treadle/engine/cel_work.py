"""How much work an expression may cause, estimated before it is evaluated.

An evaluation cannot be interrupted, and everybody else waits for it. So what it could cost at most is told from its loops,
from what it looks at in them, and from the size of the data; expressions over data that is too large for them fail.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Container

MAX_WORK = 2_000_000
"""Steps of an evaluation: one each for going round a loop and for an entry that is copied. About two seconds at worst."""

# Names that stand for data, which the library copies when an expression names a part of it.
_DATA = frozenset({"input", "additional_metadata", "payload", "output", "parents", "headers"})
# One entry of a map takes about as long to copy as this many characters.
_CHARACTERS_PER_STEP = 4096
# What matching a pattern may cost for a character of text.
_STEPS_PER_MATCHED_CHARACTER = 50

_literals = re.compile(
    r"""
      (?:[rR][bB]?|[bB][rR]) (?: \"{3}.*?\"{3} | '{3}.*?'{3} | "[^"]*" | '[^']*' )
    | [bB]? (?:
        \"{3} (?:\\.|[^\\])*? \"{3} | '{3} (?:\\.|[^\\])*? '{3} | " (?:\\.|[^"\\])* " | ' (?:\\.|[^'\\])* '
      )
    | // [^\n]*
    """,
    re.VERBOSE | re.DOTALL,
).sub
_tokens = re.compile(
    r"(?P<loop>\.\s*(?:all|exists|exists_one|existsOne)\s*\()|(?P<collect>\.\s*(?:map|filter)\s*\()"
    r"|(?P<open>\()|(?P<close>\))"
    r"|(?P<member>\.\s*\w+)|(?P<name>[A-Za-z_]\w*)"
).finditer


class Footprint(NamedTuple):
    """How large some data is: entries in all, the longest list or map, characters of all texts."""

    entries: int
    longest: int
    characters: int

    def __add__(self, other: object) -> Footprint:
        if not isinstance(other, Footprint):
            return NotImplemented
        return Footprint(
            self.entries + other.entries, max(self.longest, other.longest), self.characters + other.characters
        )


class Work(NamedTuple):
    """What an expression does, as far as it can be seen in its text."""

    # How many items it lists itself, how deep its loops are nested (those that collect a list count twice, for the library
    # copies the list at each step), and how often it names data outside of and within them.
    listed: int
    depth: int
    names: int
    names_in_loops: int
    splits: bool
    matches: bool

    def check(self, size: Footprint) -> None:
        """Whether it may be evaluated over data of this size.

        Raises:
            ValueError: It could take too long.
        """
        entries = size.entries + size.characters // _CHARACTERS_PER_STEP
        if self.matches:
            entries += size.characters * _STEPS_PER_MATCHED_CHARACTER
        # A loop goes over data, over pieces of a text, or over what is written in the expression itself.
        longest = max(size.longest, size.characters if self.splits else 0, self.listed)
        steps = self.names * entries
        if self.depth:
            steps += int(longest**self.depth) * (1 + self.names_in_loops * entries)
        if steps > MAX_WORK:
            raise ValueError(
                "it could take too long over this data: loop over fewer entries, and name in loops only what they give"
            )


def work_of(expression: str, functions: Container[str]) -> Work:
    """Read off an expression that compiles what it does; `functions` are those that it calls."""
    rounds = {"loop": 1, "collect": 2, "open": 0}
    opened: list[int] = []
    depth = deepest = names = names_in_loops = 0
    for token in _tokens(_literals(" ", expression)):
        match token.lastgroup:
            case "loop" | "collect" | "open":
                opened.append(rounds[token.lastgroup])
                depth += opened[-1]
                deepest = max(deepest, depth)
            case "close":
                depth -= opened.pop()
            case "name" if token["name"] in _DATA:
                if depth:
                    names_in_loops += 1
                else:
                    names += 1
    return Work(expression.count(",") + 1, deepest, names, names_in_loops, "split" in functions, "matches" in functions)


def footprint(value: object) -> Footprint:
    """How large a plain value is."""
    entries = longest = characters = 0
    left = [value]
    while left:
        item = left.pop()
        if isinstance(item, str):
            characters += len(item)
        elif isinstance(item, dict):
            entries += len(item)
            longest = max(longest, len(item))
            left.extend(item.values())
            characters += sum(map(len, item))
        elif isinstance(item, list):
            entries += len(item)
            longest = max(longest, len(item))
            left.extend(item)
    return Footprint(entries, longest, characters)
