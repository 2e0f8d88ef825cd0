"""What the numbered workflow runs of a chaos test are meant to come to, task by task."""

from typing import NamedTuple

from treadle.model.states import RunStatus

FLOW = "chaos-flow"
FLOW_APP = "tests.chaos.flow_app:app"

GO, YES, NO, HURRY = "chaos.go", "chaos.yes", "chaos.no", "chaos.hurry"
"""Events. Each is meant for one run: its scope is the run's number, as text."""

NAP_SECONDS, LONGER_SECONDS, LONGEST_SECONDS = 1, 2, 3

COMPLETED, FAILED = RunStatus.COMPLETED, RunStatus.FAILED
CANCELLED, SKIPPED = RunStatus.CANCELLED, RunStatus.SKIPPED


class Planned(NamedTuple):
    """The end of a task: what it returns, and how many of its retries are spent by failures on purpose."""

    status: RunStatus
    value: int | None = None
    retries: int = 0


def begin_fails(number: int) -> int:
    """How many attempts of the first task raise on purpose: with the second it has failed."""
    if number % 13 == 5:
        return 2
    return 1 if number % 7 == 3 else 0


def join_fails(number: int) -> bool:
    """Whether the task behind most others raises on purpose."""
    return number % 11 == 4


def says_no(number: int) -> bool:
    """Whether the choice is skipped by an event, instead of started by another."""
    return number % 4 < 2


def hurries(number: int) -> bool:
    """Whether an event ends the longest sleep early, if it comes in time."""
    return number % 3 == 1


def events_of(number: int) -> list[str]:
    """The keys of the events that are pushed for a run."""
    return [GO, NO if says_no(number) else YES, *([HURRY] if hurries(number) else [])]


def planned_tasks(number: int) -> dict[str, Planned]:
    """The ends of the tasks of a run; a failure handler that is not called is left out."""
    if begin_fails(number) > 1:
        others = ("nap", "listen", "both", "odd", "after_odd", "choice", "either", "join", "stop", "finish")
        return {
            "begin": Planned(FAILED, retries=1),
            **dict.fromkeys(others, Planned(CANCELLED)),
            "rescue": Planned(COMPLETED, number),
        }
    even = (number + 1) % 2 == 0
    odd = Planned(SKIPPED) if even else Planned(COMPLETED, number + 2)
    after_odd = Planned(SKIPPED) if even else Planned(COMPLETED, number + 3)
    choice = Planned(SKIPPED) if says_no(number) else Planned(COMPLETED, number)
    tasks = {
        "begin": Planned(COMPLETED, number, retries=begin_fails(number)),
        "nap": Planned(COMPLETED, number + 1),
        "listen": Planned(COMPLETED, number),
        "both": Planned(COMPLETED, number),
        "odd": odd,
        "after_odd": after_odd,
        "choice": choice,
        "either": Planned(COMPLETED, number),
        "join": Planned(COMPLETED, number + (after_odd.value or 0) + (choice.value or 0)),
        "stop": Planned(CANCELLED if number % 17 == 6 else COMPLETED, None if number % 17 == 6 else number),
    }
    if join_fails(number):
        tasks |= {"join": Planned(FAILED), "rescue": Planned(COMPLETED, number)}
    well = all(task.status in (COMPLETED, SKIPPED) for task in tasks.values())
    tasks["finish"] = Planned(COMPLETED, number) if well else Planned(CANCELLED)
    return tasks


def planned_end(number: int) -> RunStatus:
    """How a run ends."""
    found = {task.status for task in planned_tasks(number).values()}
    return FAILED if FAILED in found else CANCELLED if CANCELLED in found else COMPLETED
