"""The one door to the engine's loop: a bounded line of commands."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Protocol

from treadle.model.errors import Exhausted, Unavailable

if TYPE_CHECKING:
    from treadle.engine.commands import Command


class Door(Protocol):
    """Where commands are handed in: the inbox of the loop itself, or a way to the engine that owns the tenant."""

    def put(self, command: Command) -> None:
        """As `Inbox.put`."""
        ...

    async def put_when_room(self, command: Command) -> None:
        """As `Inbox.put_when_room`."""
        ...

    async def put_when_owned(self, command: Command) -> None:
        """As `Inbox.put`, once somebody owns the command's tenant."""
        ...

    def put_control(self, command: Command) -> None:
        """As `Inbox.put_control`."""
        ...


class Inbox:
    """Commands that wait for the next commit.

    Args:
        bound: most rows' worth of commands held. Above it, reports wait and triggers are refused.
    """

    def __init__(self, bound: int = 50_000) -> None:
        self._bound = bound
        self._commands: deque[tuple[Command, int]] = deque()
        self._rows = 0
        self._closed = False
        self._filled = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    def put(self, command: Command) -> None:
        """Add a command.

        Raises:
            Exhausted: the engine is behind; the caller should try again later.
            Unavailable: the engine is stopping.
        """
        if self._closed:
            raise Unavailable("engine", "is stopping; connect again")
        if self._rows >= self._bound:
            raise Exhausted("engine", "too many requests wait for a commit; try again in a moment")
        self._add(command)

    async def put_when_room(self, command: Command) -> None:
        """Add a command, waiting while the engine is behind.

        Raises:
            Unavailable: the engine is stopping.
        """
        while self._rows >= self._bound and not self._closed:
            self._room.clear()
            await self._room.wait()
        if self._closed:
            raise Unavailable("engine", "is stopping; connect again")
        self._add(command)

    async def put_when_owned(self, command: Command) -> None:
        """As `put`: whoever has the inbox itself owns the tenant."""
        self.put(command)

    def put_control(self, command: Command) -> None:
        """Add a command of the engine's own, whatever the load."""
        if not self._closed:
            self._add(command)

    def take(self, rows: int) -> list[Command]:
        """Remove the next commands, up to about `rows` rows; one that goes alone comes alone."""
        taken: list[Command] = []
        count = 0
        commands = self._commands
        while commands and count < rows:
            command, size = commands[0]
            if command.alone and taken:
                break
            commands.popleft()
            taken.append(command)
            count += size
            if command.alone:
                break
        self._rows -= count
        if not commands:
            self._filled.clear()
        if self._rows < self._bound:
            self._room.set()
        return taken

    def wake(self) -> None:
        """Let the loop look around although nobody has asked for anything."""
        self._filled.set()

    async def wait(self) -> None:
        """Return when there is something to do."""
        await self._filled.wait()

    def close(self) -> None:
        """Refuse commands from now on; those inside are still taken."""
        self._closed = True
        self._room.set()
        self._filled.set()

    @property
    def rows(self) -> int:
        """About how many rows' worth of commands wait."""
        return self._rows

    def rest(self) -> None:
        """Let `wait` return at the next command only, although some wait already."""
        if not self._closed:
            self._filled.clear()

    @property
    def empty(self) -> bool:
        """Whether nothing waits."""
        return not self._commands

    def _add(self, command: Command) -> None:
        size = command.size
        self._commands.append((command, size))
        self._rows += size
        self._filled.set()
