"""The hot statements on a filled database: by index, and only in the partitions that can hold what is asked for."""

import json
import re
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, NamedTuple, cast

import pytest

from tests.storage.filled import fill
from tests.storage.thread import PlainConnection, plain_connection
from tests.support.databases import new_database, run_apart
from treadle.model.ids import id_at
from treadle.model.states import RunStatus
from treadle.runtime.clock import moment
from treadle.storage import assign, enqueue, event, expire, find, finish, read, register, retry, trigger
from treadle.storage.database import Conn
from treadle.storage.partitions import partition_name

TENANT = 1
# Noon, so that no run of the filled database strays over midnight.
NOW = time.time() // 86_400 * 86_400 + 43_200
# Rows that a sequential scan may read without anybody caring.
SMALL = 500


class Statement(NamedTuple):
    """What a twin asks the database."""

    query: str
    args: tuple[object, ...]


class Asked(Exception):  # noqa: N818 - no error: it carries the question out of the twin
    def __init__(self, statement: Statement) -> None:
        super().__init__(statement.query)
        self.statement = statement


class Recorder:
    """Stands in for a connection and keeps what it is asked."""

    async def fetch(self, query: str, *args: object) -> None:
        raise Asked(Statement(query, args))

    execute = fetchrow = fetch


class Scan(NamedTuple):
    """One scan that a plan really made."""

    how: str
    relation: str
    rows: int


Question = Callable[[Conn], Awaitable[object]]


class Filled:
    """The database, and ids of its rows."""

    def __init__(self, server: PlainConnection) -> None:
        self.server = server

    def ids(self, table: str, count: int, column: str = "id", *, young: bool = True) -> list[str]:
        sign = ">" if young else "<"
        rows = self.server.fetch(
            f"SELECT {column} AS id FROM treadle.{table} WHERE {column} {sign} $1::uuid ORDER BY {column} DESC LIMIT $2",
            id_at(NOW - 40_000),
            count,
        )
        return [str(row["id"]) for row in rows]

    def scans(self, question: Question, *, plan: str = "auto") -> list[Scan]:
        """The scans that answer a twin's question; what it changes is undone."""

        async def ask() -> None:
            await question(cast("Conn", Recorder()))

        with pytest.raises(Asked) as asked:
            run_apart(ask())
        query, args = asked.value.statement
        self.server.execute("BEGIN")
        try:
            self.server.execute(f"SET LOCAL plan_cache_mode = {plan}")
            [row] = self.server.fetch(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}", *args)
        finally:
            self.server.execute("ROLLBACK")
        return list(walk(json.loads(row[0])[0]["Plan"]))


def walk(node: dict[str, Any]) -> Iterator[Scan]:
    if "Relation Name" in node and node["Actual Loops"] and node["Node Type"] != "ModifyTable":
        seen = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
        yield Scan(node["Node Type"], node["Relation Name"], int(seen * node["Actual Loops"]))
    for child in node.get("Plans", ()):
        yield from walk(child)


def partitions(scans: list[Scan], table: str) -> set[str]:
    """The partitions that held something of interest: those of the days to come are empty, and cost nothing."""
    return {scan.relation for scan in scans if scan.rows and re.fullmatch(rf"{table}_\d{{8}}", scan.relation)}


@pytest.fixture(scope="module")
def filled(postgres_url: str, empty_schema: str) -> Iterator[Filled]:
    with new_database(postgres_url, template=empty_schema) as url:
        run_apart(fill(url, NOW))
        with plain_connection(url) as server:
            yield Filled(server)


def check(scans: list[Scan], *, reads_at_most: int, within: int = 1) -> None:
    """Indexes only, and each partitioned table in at most `within` partitions."""
    assert scans
    assert [scan for scan in scans if scan.how == "Seq Scan" and scan.rows > SMALL] == []
    assert sum(scan.rows for scan in scans) <= reads_at_most, scans
    for table in ("task", "task_result", "child", "log_line", "event"):
        assert len(partitions(scans, table)) <= within, scans


# Postgres goes over to a generic plan where that promises to cost no more: both must do.
GENERIC = pytest.mark.parametrize("plan", ["force_custom_plan", "force_generic_plan"])


@GENERIC
def test_load_window(filled: Filled, plan: str) -> None:
    def ask(conn: Conn) -> Awaitable[object]:
        return enqueue.load_window(conn, tenant_id=TENANT, queue_id=2, after=(-3, 0), limit=500, input_limit=8192)

    check(filled.scans(ask, plan=plan), reads_at_most=1100)


def test_filled_queues_skips_from_queue_to_queue(filled: Filled) -> None:
    check(filled.scans(lambda conn: enqueue.filled_queues(conn, tenant_id=TENANT)), reads_at_most=20)


@GENERIC
@pytest.mark.parametrize("count", [1, 500])
def test_delete_queue_items(filled: Filled, plan: str, count: int) -> None:
    rows = filled.server.fetch("SELECT queue_id, rank, position FROM treadle.queue_item LIMIT $1", count)

    def ask(conn: Conn) -> Awaitable[object]:
        return assign.delete_queue_items(
            conn,
            tenant_ids=[TENANT] * count,
            queue_ids=[row["queue_id"] for row in rows],
            ranks=[row["rank"] for row in rows],
            positions=[row["position"] for row in rows],
        )

    check(filled.scans(ask, plan=plan), reads_at_most=count)


@GENERIC
@pytest.mark.parametrize("count", [1, 50])
def test_delete_attempts(filled: Filled, plan: str, count: int) -> None:
    ids = filled.ids("attempt", count, "task_id")

    def ask(conn: Conn) -> Awaitable[object]:
        return finish.delete_attempts(conn, tenant_ids=[TENANT] * count, task_ids=ids, attempts=[1] * count)

    check(filled.scans(ask, plan=plan), reads_at_most=count)


@GENERIC
def test_load_inputs(filled: Filled, plan: str) -> None:
    ids = filled.ids("task", 100)
    check(
        filled.scans(lambda conn: assign.load_inputs(conn, tenant_ids=[TENANT] * 100, ids=ids), plan=plan),
        reads_at_most=100,
    )


@GENERIC
def test_task_versions(filled: Filled, plan: str) -> None:
    ids = filled.ids("task", 100)
    check(
        filled.scans(lambda conn: register.task_versions(conn, tenant_ids=[TENANT] * 100, ids=ids), plan=plan),
        reads_at_most=100,
    )


def test_take_due_timers(filled: Filled) -> None:
    def ask(conn: Conn) -> Awaitable[object]:
        return retry.take_due_timers(conn, tenant_ids=[TENANT], now=moment(NOW + 500), limit=20, input_limit=8192)

    check(filled.scans(ask), reads_at_most=100)


def test_next_due(filled: Filled) -> None:
    check(filled.scans(lambda conn: retry.next_due(conn, tenant_ids=[TENANT])), reads_at_most=1)


def test_take_expired_items(filled: Filled) -> None:
    def ask(conn: Conn) -> Awaitable[object]:
        return expire.take_expired_items(conn, tenant_ids=[TENANT], now=moment(NOW + 38_500), limit=20)

    check(filled.scans(ask), reads_at_most=100)


def test_next_expiry(filled: Filled) -> None:
    check(filled.scans(lambda conn: expire.next_expiry(conn, tenant_ids=[TENANT])), reads_at_most=1)


@pytest.mark.parametrize(
    ("wanted", "within"),
    [
        (find.RunFilter(), 1),
        (find.RunFilter(since=moment(NOW - 3600)), 2),
        (find.RunFilter(until=moment(NOW - 43_200)), 1),
        (find.RunFilter(before=id_at(NOW - 80_000)), 1),
        (find.RunFilter(metadata=[("customer", "c7")]), 1),
    ],
    ids=["all", "since", "until", "the next page", "by metadata"],
)
def test_a_page_of_runs(filled: Filled, wanted: find.RunFilter, within: int) -> None:
    scans = filled.scans(lambda conn: find.find_any_runs(conn, tenant_id=TENANT, wanted=wanted, limit=50))
    assert [scan for scan in scans if scan.how == "Seq Scan" and scan.rows > SMALL] == []
    assert len(partitions(scans, "task")) <= within
    # A page by metadata reads on until it is full.
    assert sum(scan.rows for scan in scans) <= 50 * 100 * 3


@GENERIC
@pytest.mark.parametrize(
    "statuses", [(RunStatus.QUEUED,), (RunStatus.RUNNING,), (RunStatus.QUEUED, RunStatus.RUNNING)], ids=str
)
def test_a_page_of_runs_that_have_not_ended(filled: Filled, plan: str, statuses: tuple[RunStatus, ...]) -> None:
    def ask(conn: Conn) -> Awaitable[object]:
        return find.find_active(
            conn,
            tenant_id=TENANT,
            wanted=find.RunFilter(statuses=statuses),
            since=None,
            before=None,
            limit=50,
        )

    check(filled.scans(ask, plan=plan), reads_at_most=4 * 50)


@GENERIC
def test_a_page_of_runs_that_have_ended(filled: Filled, plan: str) -> None:
    def ask(conn: Conn) -> Awaitable[object]:
        wanted = find.RunFilter(statuses=(RunStatus.COMPLETED,))
        return find.find_ended_runs(conn, tenant_id=TENANT, wanted=wanted, limit=50)

    check(filled.scans(ask, plan=plan), reads_at_most=3 * 50)


@GENERIC
def test_count_children(filled: Filled, plan: str) -> None:
    ids = filled.ids("child", 50, "parent_id")
    check(
        filled.scans(lambda conn: read.count_children(conn, tenant_id=TENANT, ids=ids), plan=plan),
        reads_at_most=10 * 50,
    )


@GENERIC
def test_run_rows(filled: Filled, plan: str) -> None:
    ids = filled.ids("task", 50)
    check(
        filled.scans(lambda conn: read.bare_rows(conn, tenant_id=TENANT, ids=ids), plan=plan),
        reads_at_most=250,
    )


@GENERIC
@pytest.mark.parametrize("young", [True, False])
def test_ended_runs(filled: Filled, plan: str, young: bool) -> None:
    ids = filled.ids("task_result", 400, young=young)
    check(
        filled.scans(lambda conn: read.ended_runs(conn, tenant_id=TENANT, ids=ids), plan=plan),
        reads_at_most=2 * len(ids),
    )


@GENERIC
def test_existing_children(filled: Filled, plan: str) -> None:
    rows = filled.server.fetch("SELECT parent_id, key FROM treadle.child ORDER BY parent_id DESC LIMIT 300")

    def ask(conn: Conn) -> Awaitable[object]:
        return trigger.existing_children(
            conn,
            tenant_ids=[TENANT] * len(rows),
            parent_ids=[str(row["parent_id"]) for row in rows],
            keys=[row["key"] for row in rows],
        )

    check(filled.scans(ask, plan=plan), reads_at_most=300 * 10)


@GENERIC
def test_run_logs(filled: Filled, plan: str) -> None:
    [task_id] = filled.ids("log_line", 1, "task_id")
    check(
        filled.scans(lambda conn: read.run_logs(conn, tenant_id=TENANT, ids=[task_id], limit=100), plan=plan),
        reads_at_most=10,
    )


@GENERIC
@pytest.mark.parametrize("scope", [None, "scope-10"], ids=["any scope", "one scope"])
@pytest.mark.parametrize("count", [1, 100])
def test_earliest_events_of_a_key_since_a_time(filled: Filled, plan: str, scope: str | None, count: int) -> None:
    since = moment(NOW - 60)

    def ask(conn: Conn) -> Awaitable[object]:
        wanted = [event.Wanted(TENANT, f"key-{n % 10}", scope, since, id_at(NOW - 60)) for n in range(count)]
        return event.earliest(conn, wanted=wanted, limit=10, payload_limit=100)

    scans = filled.scans(ask, plan=plan)
    check(scans, reads_at_most=count * 10)
    assert {scan.how for scan in scans} <= {"Index Scan", "Bitmap Heap Scan"}
    assert partitions(scans, "event")
    # Yesterday's events are not even asked for.
    assert not [scan for scan in scans if scan.relation == partition_name("event", moment(NOW - 86_400).date())]


@GENERIC
def test_payload_and_presence_of_events(filled: Filled, plan: str) -> None:
    ids = filled.ids("event", 100)
    check(
        filled.scans(lambda conn: event.existing_events(conn, tenant_id=TENANT, ids=ids), plan=plan), reads_at_most=100
    )
    check(filled.scans(lambda conn: event.load_payload(conn, tenant_id=TENANT, id=ids[0]), plan=plan), reads_at_most=1)
