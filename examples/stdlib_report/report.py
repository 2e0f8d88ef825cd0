"""The report in the terminal."""

from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from stdlib_report.analysis import LibraryMeasure, ModuleSize, Nesting, PackageMeasure

SHOWN = 8


def render_report(library: LibraryMeasure, *, seconds: float) -> RenderableType:
    """Three small tables and a line of totals."""
    totals = (
        f"{library.files:,} files in {library.packages:,} packages: {library.lines:,} lines, "
        f"{library.functions:,} functions, {library.classes:,} classes, in {seconds:.1f} s"
    )
    parts: list[RenderableType] = [
        Text(totals, style="bold", no_wrap=True, overflow="ignore"),
        _largest_modules(library.largest[:SHOWN]),
        _deepest_nesting(library.deepest[:SHOWN]),
        _functions_per_package(library.per_package[:SHOWN]),
    ]
    if library.not_python:
        names = ", ".join(library.not_python[:3])
        parts.append(Text(f"{len(library.not_python)} files are broken on purpose, to test parsers ({names}, ...)"))
    return Group(*parts)


def _largest_modules(sizes: Iterable[ModuleSize]) -> Table:
    table = _table("Largest modules", "module", "lines")
    for size in sizes:
        table.add_row(size.module, f"{size.lines:,}")
    return table


def _deepest_nesting(nestings: Iterable[Nesting]) -> Table:
    table = _table("Deepest nesting", "module", "blocks", "line")
    for nesting in nestings:
        table.add_row(nesting.module, str(nesting.depth), str(nesting.line))
    return table


def _functions_per_package(packages: Sequence[PackageMeasure]) -> Table:
    table = _table("Functions per package", "package", "functions", "classes", "files", "functions per file")
    for package in packages:
        per_file = package.functions / package.files
        table.add_row(
            package.package,
            f"{package.functions:,}",
            f"{package.classes:,}",
            f"{package.files:,}",
            f"{per_file:.0f}",
        )
    return table


def _table(title: str, name: str, *numbers: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    table.add_column(name, style="cyan")
    for number in numbers:
        table.add_column(number, justify="right")
    return table
