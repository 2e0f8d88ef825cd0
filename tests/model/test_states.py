from treadle.model.states import TERMINAL, EventKind, RunStatus


def test_stored_numbers_stay_as_they_are() -> None:
    assert [(status.name, int(status)) for status in RunStatus] == [
        ("QUEUED", 1),
        ("RUNNING", 2),
        ("COMPLETED", 3),
        ("FAILED", 4),
        ("CANCELLED", 5),
        ("SKIPPED", 6),
    ]
    assert [int(kind) for kind in EventKind] == list(range(1, 21))
    assert (EventKind.CREATED, EventKind.TIMEOUT_REFRESHED, EventKind.EXPRESSION_FAILED) == (1, 16, 20)


def test_a_run_is_over_when_it_neither_waits_nor_runs() -> None:
    assert set(RunStatus) - TERMINAL == {RunStatus.QUEUED, RunStatus.RUNNING}
