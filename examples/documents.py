"""Run a document pipeline on real files: this project's own pages, or those of any folder.

Starts an engine (with its own PostgreSQL) and a worker, and runs a workflow of six tasks: it finds the Markdown pages,
reads each in a child run, computes figures, an index and a check of the links side by side, and composes a report.
"""

from pathlib import Path

from rich.markdown import Markdown

from handbook.flow import Folder, app, explain, handbook, report
from stage import ROOT, console, parser_of, perform, show_tasks
from treadle import TaskFailed


async def play(folder: Path) -> None:
    """Run the workflow and print what comes of it."""
    run = await handbook.start(Folder(str(folder)))
    try:
        result = await run.result()
    except TaskFailed:
        console.print((await run.outcome()).output(explain))
        raise
    finally:
        await show_tasks(run)
    console.print(Markdown(result.output(report)), soft_wrap=False)


def main() -> int:
    """Run the example; the exit code."""
    parser = parser_of(__doc__, "documents")
    parser.add_argument("--folder", type=Path, default=ROOT, help="folder with Markdown pages (%(default)s)")
    arguments = parser.parse_args()
    folder: Path = arguments.folder.expanduser().absolute()
    return perform(app, arguments.data_dir, lambda: play(folder))


if __name__ == "__main__":
    raise SystemExit(main())
