"""What holds for every file of the repository."""

import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GENERATED = ROOT / "src/treadle/wire/gen"
MAX_LINES = 400
CODE = {".py", ".sql", ".proto", ".pyi"}
# Spelled in halves, so that this file does not find itself.
REGISTRIES = ("pypi" + ".org", "pythonhosted" + ".org", "npmjs" + ".org", "registry" + ".npm", "proxy" + ".golang.org")
MACHINE_PATHS = ("/wo" + "rk/", "/ro" + "ot/", "/ho" + "me/", "/Us" + "ers/", "/opt" + "/wheels")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
BACKTICKED = re.compile(r"`([\w./-]+)`")
STORED_PATHS = ("src/", "tests/", "docs/", "examples/", "scripts/", "bench/", "deploy/")
FOLDERS = {path.name for path in (ROOT / "src/treadle").iterdir() if path.is_dir()}


@cache
def tracked_files() -> tuple[Path, ...]:
    """What git knows, and what it would be told: ignored files are nobody's business."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return tuple(sorted(path for name in listed.split("\0") if name and (path := ROOT / name).is_file()))


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="ignore")


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def pages() -> list[Path]:
    return [path for path in tracked_files() if path.suffix == ".md"]


def test_no_file_of_code_is_longer_than_400_lines() -> None:
    long = {
        named(path): lines
        for path in tracked_files()
        if path.suffix in CODE and not path.is_relative_to(GENERATED)
        if (lines := len(text_of(path).splitlines())) > MAX_LINES
    }
    assert long == {}


def test_no_file_names_a_package_registry() -> None:
    found = [
        f"{named(path)}: {host}" for path in tracked_files() for host in REGISTRIES if host in text_of(path).lower()
    ]
    assert found == []


def test_no_file_names_a_path_of_somebodys_machine() -> None:
    found = [
        f"{named(path)}:{number}: {line.strip()[:100]}"
        for path in tracked_files()
        for number, line in enumerate(text_of(path).splitlines(), 1)
        if any(re.search(rf"(?<![\w.>$}}]){re.escape(start)}", line) for start in MACHINE_PATHS)
    ]
    assert found == []


def test_every_relative_link_of_a_page_leads_somewhere() -> None:
    broken = [
        f"{named(page)}: {target}"
        for page in pages()
        for target in LINK.findall(text_of(page))
        if not re.match(r"[a-z]+:|#", target)
        if not (page.parent / target.split("#")[0]).exists()
    ]
    assert broken == []


@pytest.mark.parametrize("page", ["ARCHITECTURE.md", "docs/life-of-a-task.md"])
def test_every_path_that_the_page_names_exists(page: str) -> None:
    text = text_of(ROOT / page)
    paths = {name for name in BACKTICKED.findall(text) if is_path(name)}
    assert paths, "a page about the code names none of it"
    missing = sorted(
        name for name in paths if not (ROOT / name).exists() and not (ROOT / "src/treadle" / name).exists()
    )
    assert missing == []


def is_path(name: str) -> bool:
    """`src/...`, or `engine/assign.py`: a path seen from src/treadle. Not `text/html`, and not `run()`."""
    return name.startswith(STORED_PATHS) or ("/" in name and name.split("/", maxsplit=1)[0] in FOLDERS)


def test_every_statement_has_a_twin_of_its_name() -> None:
    storage = ROOT / "src/treadle/storage"
    missing = [
        f"{named(sql)}: {name}"
        for sql in sorted((storage / "sql").glob("*.sql"))
        for name in re.findall(r"^-- name: (\w+) ", text_of(sql), re.MULTILINE)
        if not has_twin(storage / f"{sql.stem}.py", name)
    ]
    assert missing == []


def has_twin(module: Path, name: str) -> bool:
    code = text_of(module) if module.exists() else ""
    return bool(re.search(rf"^(async )?def {name}\(", code, re.MULTILINE)) and f'_SQL["{name}"]' in code
