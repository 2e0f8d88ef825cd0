"""The order between tasks of a workflow."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


def find_cycle(parents: Mapping[str, Collection[str]]) -> list[str] | None:
    """A cycle among the tasks, each the parent of the next and the last equal to the first.

    Args:
        parents: For each task those it waits for. All must be keys themselves.
    """
    done: set[str] = set()
    for root in parents:
        # Depth first with an explicit path: a chain of thousands of tasks is no reason to fail.
        path: list[str] = []
        on_path: set[str] = set()
        todo = [(root, False)]
        while todo:
            task, leaving = todo.pop()
            if leaving:
                path.pop()
                on_path.discard(task)
                done.add(task)
            elif task in on_path:
                return [task, *reversed(path[path.index(task) :])]
            elif task not in done:
                path.append(task)
                on_path.add(task)
                todo.append((task, True))
                todo.extend((parent, False) for parent in parents[task])
    return None
