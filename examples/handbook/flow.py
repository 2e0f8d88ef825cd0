"""The workflow: collect the pages, read each in a run of its own, look at them in three ways at once, compose a report."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from handbook.pages import (
    BrokenLink,
    Library,
    Page,
    Statistics,
    Term,
    compose,
    find_broken_links,
    find_pages,
    index_terms,
    measure,
    read_page,
)
from treadle import Backoff, Context, NonRetryable, Treadle

app = Treadle()


@dataclass
class Folder:
    """The input."""

    path: str


handbook = app.workflow("handbook", input=Folder, description="What is in a folder of Markdown pages")


@app.task(retries=2, backoff=Backoff(factor=1))
def read(folder: str, path: str) -> Page:
    """Read one page. A task of its own: it is retried alone, and can run on any worker."""
    return read_page(Path(folder), path)


@handbook.task
async def collect(folder: Folder) -> list[str]:
    """Find the pages."""
    found = await asyncio.to_thread(find_pages, Path(folder.path))
    if not found:
        raise NonRetryable(f"there is no page (*.md) in {folder.path}")
    return found


@handbook.task(parents=[collect], timeout=timedelta(minutes=5))
async def extract(ctx: Context, folder: Folder) -> Library:
    """One child run for each page. A retry of this task finds the children that its first try has started."""
    pages = await read.run_many({"folder": folder.path, "path": path} for path in ctx.output(collect))
    ctx.log(f"read {len(pages)} pages")
    return Library(pages, sum(len(page.links) for page in pages))


@handbook.task(parents=[extract])
def statistics(ctx: Context) -> Statistics:
    """Add up."""
    return measure(ctx.output(extract).pages)


@handbook.task(parents=[extract])
def index(ctx: Context) -> list[Term]:
    """Find out what the pages are about."""
    return index_terms(ctx.output(extract).pages)


@handbook.task(parents=[extract], skip_if=extract.when("output.links == 0"))
def check_links(ctx: Context, folder: Folder) -> list[BrokenLink]:
    """Follow the links to files, if there are links at all."""
    return find_broken_links(Path(folder.path), ctx.output(extract).pages)


@handbook.task(parents=[statistics, index, check_links])
def report(ctx: Context, folder: Folder) -> str:
    """Put it together. A task that was skipped has no output, so there is a default in its place."""
    broken = ctx.output(check_links, default=None)
    return compose(folder.path, ctx.output(statistics), ctx.output(index), broken)


@handbook.on_failure
def explain(ctx: Context, folder: Folder) -> str:
    """Say what went wrong, in place of a report."""
    reasons = [f"{name}: {error.error_message}" for name, error in ctx.errors.items()]
    return f"No report on {folder.path}. " + "; ".join(reasons)
