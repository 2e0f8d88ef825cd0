"""The statements of workflow runs on a filled database: as in test_plans."""

from collections.abc import Awaitable, Callable

import pytest

from tests.storage.test_plans import GENERIC, NOW, TENANT, Filled, check, filled
from treadle.runtime.clock import moment
from treadle.storage import conditions, workflow
from treadle.storage.database import Conn

__all__ = ["filled"]

Ask = Callable[[Conn, list[str]], Awaitable[object]]

BY_IDS: dict[str, Ask] = {
    "load_runs": lambda conn, ids: workflow.load_runs(conn, tenant_ids=[TENANT] * len(ids), ids=ids, input_limit=100),
    "load_steps": lambda conn, ids: workflow.load_steps(
        conn, tenant_ids=[TENANT] * len(ids), ids=ids, whole=[False] * len(ids), output_limit=100
    ),
    "load_outputs": lambda conn, ids: workflow.load_outputs(conn, tenant_ids=[TENANT] * len(ids), ids=ids),
    "load_errors": lambda conn, ids: workflow.load_errors(conn, tenant_ids=[TENANT] * len(ids), ids=ids),
    "find_members": lambda conn, ids: workflow.find_members(conn, tenant_id=TENANT, ids=ids),
    "take_step_results": lambda conn, ids: workflow.take_step_results(conn, tenant_id=TENANT, ids=ids),
    "set_triggers": lambda conn, ids: workflow.set_triggers(
        conn, tenant_ids=[TENANT] * len(ids), ids=ids, triggers=["{}"] * len(ids)
    ),
    "delete_replayed": lambda conn, ids: workflow.delete_replayed(conn, tenant_ids=[TENANT] * len(ids), task_ids=ids),
    "children": lambda conn, ids: workflow.children(conn, tenant_id=TENANT, ids=ids),
    "load_conditions": lambda conn, ids: conditions.load_conditions(conn, tenant_ids=[TENANT] * len(ids), ids=ids),
    "set_met": lambda conn, ids: conditions.set_met(
        conn,
        now=moment(NOW),
        tenant_ids=[TENANT] * len(ids),
        task_ids=ids,
        places=[0] * len(ids),
        data=["{}"] * len(ids),
    ),
    "delete_conditions": lambda conn, ids: conditions.delete_conditions(
        conn, tenant_ids=[TENANT] * len(ids), task_ids=ids
    ),
}


@GENERIC
@pytest.mark.parametrize("name", BY_IDS)
@pytest.mark.parametrize("count", [1, 50])
def test_rows_are_found_by_their_keys(filled: Filled, plan: str, name: str, count: int) -> None:
    table = "replayed" if "replayed" in name else "condition" if name in ("load_conditions", "set_met") else "task"
    ids = filled.ids(table, count, "id" if table == "task" else "task_id")
    check(filled.scans(lambda conn: BY_IDS[name](conn, ids), plan=plan), reads_at_most=20 * count)


@GENERIC
def test_take_due_sleeps(filled: Filled, plan: str) -> None:
    def ask(conn: Conn) -> Awaitable[object]:
        return conditions.take_due_sleeps(conn, tenant_ids=[TENANT], now=moment(NOW + 500), limit=20)

    check(filled.scans(ask, plan=plan), reads_at_most=100)


def test_next_sleep(filled: Filled) -> None:
    check(filled.scans(lambda conn: conditions.next_sleep(conn, tenant_ids=[TENANT])), reads_at_most=1)


@GENERIC
def test_waiting_for_events(filled: Filled, plan: str) -> None:
    keys = [(TENANT, f"key-{n}") for n in range(20)]
    scoped = [(TENANT, f"key-{n}", "scope") for n in range(20)]
    check(
        filled.scans(lambda conn: conditions.waiting_for(conn, keys=keys, scoped=scoped), plan=plan),
        reads_at_most=20 * 12 * 4,
    )
