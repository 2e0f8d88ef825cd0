"""The tasks: one that fans out, and one that measures a package."""

import asyncio
import os
import warnings
from datetime import timedelta
from pathlib import Path

from stdlib_report.analysis import LibraryMeasure, PackageMeasure, combine, find_packages, measure_package
from treadle import Backoff, Context, Treadle

FLAKY_PACKAGE = "json"

# Old code in the library is full of escapes that today's parser warns about; it is not ours to mend.
warnings.simplefilter("ignore", SyntaxWarning)
warnings.simplefilter("ignore", DeprecationWarning)

app = Treadle()


@app.task(retries=3, backoff=Backoff(factor=1), timeout=timedelta(minutes=2))
def measure(ctx: Context, root: str, package: str) -> PackageMeasure:
    """Parse the files of one package. A plain function: it runs in a thread of the worker."""
    if package == FLAKY_PACKAGE and ctx.retry_count == 0:
        raise OSError(f"the disk under {package!r} hiccups: on purpose, the first time only")
    ctx.log(f"measuring {package} in process {os.getpid()}")
    return measure_package(Path(root), package)


@app.task(timeout=timedelta(minutes=5))
async def report(ctx: Context, root: str) -> LibraryMeasure:
    """Start one child run for each package, and add up what they find."""
    packages = await asyncio.to_thread(find_packages, Path(root))
    runs = await measure.start_many({"root": root, "package": package} for package in packages)
    ctx.log(f"fanned out over {len(runs)} packages")
    measured = await asyncio.gather(*(run.result() for run in runs))
    return combine(measured)
