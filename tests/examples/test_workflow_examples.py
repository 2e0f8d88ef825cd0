"""The examples of workflows as a stranger runs them: in processes of their own, with real engines."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from handbook.pages import BrokenLink, compose, find_broken_links, find_pages, index_terms, measure, read_page
from treadle.runtime.connection import CONNECTION_FILE

ROOT = Path(__file__).parents[2]
LONG = 100


def _run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "examples" / script), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LONG,
        check=False,
    )


def _pages(folder: Path, *, links: bool) -> None:
    (folder / "inner").mkdir(parents=True)
    (folder / "a.md").write_text("# Looms\n\nA loom weaves. A loom with a treadle weaves faster.\n\n```sh\nloom\n```\n")
    text = "See [a](../a.md), [gone](gone.md#x), [web](https://example.org) and [here](#b)." if links else "No links."
    (folder / "inner" / "b.md").write_text(f"## Treadle\n\nThe treadle moves the loom. {text}\n")


@pytest.mark.timeout(LONG + 10)
def test_the_documents_become_a_report(tmp_path: Path) -> None:
    _pages(tmp_path / "pages", links=False)
    done = _run("documents.py", "--data-dir", str(tmp_path / "data"), "--folder", str(tmp_path / "pages"))
    assert done.returncode == 0, done.stdout + done.stderr
    for expected in ("What is in pages", "2 pages", "loom (3)", "treadle (3)", "There are none."):
        assert expected in done.stdout
    assert re.search(r"check_links\s+\S skipped", done.stdout)
    assert not (tmp_path / "data" / CONNECTION_FILE).exists()
    assert not (tmp_path / "data" / "postgres" / "postmaster.pid").exists()


@pytest.mark.timeout(LONG + 10)
def test_a_folder_without_documents_fails_in_words(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = _run("documents.py", "--data-dir", str(tmp_path / "data"), "--folder", str(tmp_path / "empty"))
    assert done.returncode == 1
    assert "No report on" in done.stdout
    assert "The example failed: handbook.collect" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.timeout(LONG + 10)
def test_every_expense_finds_its_way(tmp_path: Path) -> None:
    done = _run("approval.py", "--data-dir", str(tmp_path / "data"))
    assert done.returncode == 0, done.stdout + done.stderr
    for expected in (
        "done: 12 paid to Ada, approved by the rules: 12 is at most 100",
        "done: 900 paid to Grace, approved by the manager",
        "done: Charles does not get an engine: refused by nobody within 3 s",
        "cancelled and never paid",
        "sorry, John: the bank refuses 9000",
    ):
        assert expected in done.stdout


def test_pages_are_read_and_measured(tmp_path: Path) -> None:
    folder = tmp_path / "pages"
    _pages(folder, links=True)
    (folder / ".venv").mkdir()
    (folder / ".venv" / "skipped.md").write_text("# No")
    paths = find_pages(folder)
    assert paths == ["a.md", "inner/b.md"]
    pages = [read_page(folder, path) for path in paths]
    assert [(page.title, page.code_blocks, len(page.links)) for page in pages] == [("Looms", 1, 0), ("Treadle", 0, 4)]
    assert pages[0].terms == {"loom": 2, "weaves": 2, "looms": 1, "treadle": 1, "faster": 1}
    figures = measure(pages)
    assert (figures.pages, figures.headings, figures.longest[0][0]) == (2, 2, "inner/b.md")
    terms = index_terms(pages)
    assert (terms[0].word, terms[0].count, terms[0].pages) == ("loom", 3, ["a.md", "inner/b.md"])
    broken = find_broken_links(folder, pages)
    assert broken == [BrokenLink("inner/b.md", "gone.md#x")]
    assert "inner/b.md: gone.md#x leads nowhere" in compose("x/pages", figures, terms, broken)
