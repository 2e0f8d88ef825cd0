"""One line for each run that ends, found by looking at the newest runs now and then."""

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from treadle.cli.output import STATUS_STYLES, paint, plain_line
from treadle.cli.runs.show import summary_row
from treadle.model.states import TERMINAL, RunStatus
from treadle.wire.gen.treadle.v1 import runs_pb2

if TYPE_CHECKING:
    from treadle.cli.engine import Engine

_WINDOW = 1000
_LINES_AT_ONCE = 40
_ASK_SINGLY = 20
_REMEMBERED = 20 * _WINDOW


class RunFeed:
    """Remembers which runs it has told about."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._told: OrderedDict[str, None] = OrderedDict()
        self._open: OrderedDict[str, None] = OrderedDict()

    def skip_past(self) -> None:
        """Keep silent about runs that had ended before this moment."""
        for run in self._newest():
            self._note(run)

    def poll(self) -> list[str]:
        """A line for each run that has ended since the last look; a summary when there are very many."""
        seen = set()
        ended = []
        for run in self._newest():
            seen.add(run.id)
            if self._note(run):
                ended.append(run)
        # Runs that are older than the newest thousand and still open would be missed: ask for some of them by id.
        for run_id in [run_id for run_id in self._open if run_id not in seen][:_ASK_SINGLY]:
            run = self._engine.get(run_id).run
            if self._note(run):
                ended.append(run)
            else:
                self._open.move_to_end(run_id)
        ended.reverse()
        lines = [_line(summary_row(run)) for run in ended[-_LINES_AT_ONCE:]]
        if more := len(ended) - len(lines):
            lines.insert(0, f"          ... and {more} more")
        return lines

    def _newest(self) -> list[runs_pb2.RunSummary]:
        return list(self._engine.list_runs(runs_pb2.ListRunsRequest(), _WINDOW))

    def _note(self, run: runs_pb2.RunSummary) -> bool:
        """Take a run in; true when it has just ended."""
        if run.id in self._told:
            # A replay opens an ended run again.
            if RunStatus(run.status) not in TERMINAL:
                del self._told[run.id]
                self._open[run.id] = None
            return False
        if RunStatus(run.status) not in TERMINAL:
            self._open[run.id] = None
            return False
        self._open.pop(run.id, None)
        self._told[run.id] = None
        while len(self._told) > _REMEMBERED:
            self._told.popitem(last=False)
        return True


def _line(row: dict[str, Any]) -> str:
    clock = (row["finished"] or row["created"])[11:19]
    status = paint(f"{row['status'].lower():<9}", STATUS_STYLES.get(row["status"], ""))
    retried = f"  after {row['retries_used']} retries" if row["retries_used"] else ""
    text = f"{clock}  {plain_line(row['task']):<24} {status} {row['duration'] or '':>8}  {row['id']}{retried}"
    return f"{text}  {plain_line(row['error'])}" if row["error"] else text
