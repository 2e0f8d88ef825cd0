"""What is measured about Python source. Pure functions: a text or a folder in, plain numbers out."""

import ast
import sysconfig
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

TOP_LEVEL = "(top level)"
LARGEST_KEPT = 10

_DEEPENING = (
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
    ast.If,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.With,
    ast.AsyncWith,
    ast.Try,
    ast.TryStar,
    ast.Match,
)


@dataclass(frozen=True, slots=True)
class Nesting:
    """How many blocks enclose a statement, and where it is."""

    depth: int
    module: str
    line: int


@dataclass(frozen=True, slots=True)
class ModuleSize:
    """One module and the lines in it."""

    module: str
    lines: int


@dataclass(frozen=True, slots=True)
class FileMeasure:
    """What one source file holds. `parsed` is false for a file that is no valid Python; its lines still count."""

    module: str
    lines: int
    functions: int = 0
    classes: int = 0
    deepest: Nesting | None = None
    parsed: bool = True


@dataclass(frozen=True, slots=True)
class PackageMeasure:
    """The sums over the files directly in one package."""

    package: str
    files: int
    lines: int
    functions: int
    classes: int
    deepest: Nesting | None
    largest: list[ModuleSize]
    not_python: list[str]


@dataclass(frozen=True, slots=True)
class LibraryMeasure:
    """The sums over all packages."""

    packages: int
    files: int
    lines: int
    functions: int
    classes: int
    largest: list[ModuleSize]
    deepest: list[Nesting]
    per_package: list[PackageMeasure]
    not_python: list[str]


def library_folder() -> Path:
    """Where this Python keeps its standard library."""
    return Path(sysconfig.get_path("stdlib"))


def find_packages(root: Path) -> list[str]:
    """Each folder under `root` that holds source files, named with dots; the one with most bytes first."""
    weights: Counter[str] = Counter()
    for path in root.rglob("*.py"):
        folders = path.relative_to(root).parts[:-1]
        # What cannot be imported is no package: `site-packages` and folders with a version in their name.
        if all(folder.isidentifier() for folder in folders):
            weights[".".join(folders) or TOP_LEVEL] += path.stat().st_size
    return sorted(weights, key=lambda package: (-weights[package], package))


def package_files(root: Path, package: str) -> list[Path]:
    """The source files directly in one package."""
    folder = root if package == TOP_LEVEL else root.joinpath(*package.split("."))
    return sorted(folder.glob("*.py"))


def measure_package(root: Path, package: str) -> PackageMeasure:
    """Measure each file of one package and add it up."""
    paths = package_files(root, package)
    files = [measure_source(module_name(root, path), path.read_bytes()) for path in paths]
    return PackageMeasure(
        package=package,
        files=len(files),
        lines=sum(file.lines for file in files),
        functions=sum(file.functions for file in files),
        classes=sum(file.classes for file in files),
        deepest=max((file.deepest for file in files if file.deepest), key=_depth, default=None),
        largest=_largest(ModuleSize(file.module, file.lines) for file in files),
        not_python=[file.module for file in files if not file.parsed],
    )


def measure_source(module: str, source: bytes) -> FileMeasure:
    """Measure one file. The library ships a few that are broken on purpose, to test the parser: they are only counted."""
    lines = len(source.splitlines())
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return FileMeasure(module, lines, parsed=False)
    functions = classes = 0
    depth, line = 0, 1
    for statement, enclosing in _statements(tree):
        functions += isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef)
        classes += isinstance(statement, ast.ClassDef)
        if enclosing > depth or (enclosing == depth and statement.lineno < line):
            depth, line = enclosing, statement.lineno
    return FileMeasure(module, lines, functions, classes, Nesting(depth, module, line))


def combine(packages: Iterable[PackageMeasure]) -> LibraryMeasure:
    """Add up the packages; those with most functions come first."""
    measured = sorted(packages, key=lambda package: (-package.functions, package.package))
    nestings = [package.deepest for package in measured if package.deepest]
    return LibraryMeasure(
        packages=len(measured),
        files=sum(package.files for package in measured),
        lines=sum(package.lines for package in measured),
        functions=sum(package.functions for package in measured),
        classes=sum(package.classes for package in measured),
        largest=_largest(size for package in measured for size in package.largest),
        deepest=sorted(nestings, key=lambda nesting: (-nesting.depth, nesting.module))[:LARGEST_KEPT],
        per_package=measured,
        not_python=sorted(module for package in measured for module in package.not_python),
    )


def module_name(root: Path, path: Path) -> str:
    """`root/json/decoder.py` is `json.decoder`, and `root/json/__init__.py` is `json`."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def _statements(tree: ast.Module) -> Iterator[tuple[ast.stmt, int]]:
    """Each statement with the number of blocks around it. Expressions are left out: they hold no statements."""
    waiting: list[tuple[ast.stmt, int]] = [(statement, 0) for statement in tree.body]
    while waiting:
        statement, enclosing = waiting.pop()
        yield statement, enclosing
        if isinstance(statement, _DEEPENING):
            inner = _inner_depth(statement, enclosing)
            waiting.extend((child, depth) for child, depth in inner)


def _inner_depth(statement: ast.stmt, enclosing: int) -> Iterator[tuple[ast.stmt, int]]:
    for body in _bodies(statement):
        for child in body:
            # `elif` is an `if` alone in the else branch: to a reader it is no deeper than the `if` above it.
            is_elif = isinstance(statement, ast.If) and body is statement.orelse and _is_elif(statement)
            yield child, enclosing if is_elif else enclosing + 1


def _is_elif(statement: ast.If) -> bool:
    branch = statement.orelse
    return len(branch) == 1 and isinstance(branch[0], ast.If) and branch[0].col_offset == statement.col_offset


def _bodies(statement: ast.stmt) -> Iterator[list[ast.stmt]]:
    for name in ("body", "orelse", "finalbody"):
        yield getattr(statement, name, [])
    for branch in (*getattr(statement, "handlers", ()), *getattr(statement, "cases", ())):
        yield branch.body


def _largest(sizes: Iterable[ModuleSize]) -> list[ModuleSize]:
    return sorted(sizes, key=lambda size: (-size.lines, size.module))[:LARGEST_KEPT]


def _depth(nesting: Nesting) -> int:
    return nesting.depth
