"""What the numbered runs of a chaos test are meant to do: known beforehand, so the checker can demand it."""

TASK = "chaos-step"
WORKER_APP = "tests.chaos.worker_app:app"
EFFECTS_FOLDER_VARIABLE = "CHAOS_EFFECTS"
FAILS_ONCE_EVERY = 97


def planned_failures(number: int) -> int:
    """How many of a run's attempts raise on purpose. No kill may add to this count, or take from it."""
    return 1 if number % FAILS_ONCE_EVERY == 0 else 0


def expected_value(number: int) -> int:
    """What the run's output says when its code ran on its own input."""
    return number * 2 + 1
