"""The quickstart's measuring, without an engine."""

from pathlib import Path

import pytest

from stdlib_report.analysis import (
    TOP_LEVEL,
    ModuleSize,
    Nesting,
    PackageMeasure,
    combine,
    find_packages,
    library_folder,
    measure_package,
    measure_source,
    module_name,
    package_files,
)


def test_functions_and_classes_count_wherever_they_are() -> None:
    """Methods, nested functions and coroutines are functions too."""
    source = b"class A:\n    def m(self):\n        async def inner(): ...\n\ndef f():\n    class B: ...\n"
    measured = measure_source("m", source)
    assert (measured.lines, measured.functions, measured.classes) == (6, 3, 2)


@pytest.mark.parametrize(
    ("source", "depth", "line"),
    [
        (b"x = 1\n", 0, 1),
        (b"", 0, 1),
        (b"def f():\n    if x:\n        return 1\n", 2, 3),
        (b"if a:\n    x\nelif b:\n    y\nelif c:\n    z\n", 1, 2),
        (b"if a:\n    x\nelse:\n    if b:\n        y\n", 2, 5),
        (b"try:\n    a\nexcept E:\n    for x in y:\n        b\nfinally:\n    c\n", 2, 5),
        (b"match x:\n    case 1:\n        with y:\n            z\n", 2, 4),
    ],
)
def test_nesting_is_the_number_of_blocks_around_a_statement(source: bytes, depth: int, line: int) -> None:
    """An `elif` is no deeper than its `if`; an `if` inside an `else` is. The first of the deepest is named."""
    assert measure_source("m", source).deepest == Nesting(depth, "m", line)


@pytest.mark.parametrize("source", [b"def f(:\n", b"\xff\xfe\n", b"x = '\x00'\n"])
def test_a_file_that_is_no_python_is_counted_and_named(source: bytes) -> None:
    """It has lines, and nothing else."""
    measured = measure_source("broken", source)
    assert not measured.parsed
    assert (measured.lines, measured.functions, measured.deepest) == (1, 0, None)


def test_packages_are_folders_and_the_heaviest_comes_first(tmp_path: Path) -> None:
    """Installed packages are left out, and so is what cannot be imported."""
    for name, text in {
        "top.py": "x = 1",
        "json/__init__.py": "",
        "json/decoder.py": "y = 2" * 10,
        "json/tool/cli.py": "",
        "site-packages/other/a.py": "no = 1",
        "config-3.11/b.py": "no = 1",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    packages = find_packages(tmp_path)
    assert packages == ["json", TOP_LEVEL, "json.tool"]
    modules = [module_name(tmp_path, path) for path in package_files(tmp_path, "json")]
    assert modules == ["json", "json.decoder"]


def test_a_package_adds_up_its_files(tmp_path: Path) -> None:
    """Lines, functions and classes are sums; the deepest and the largest are named."""
    (tmp_path / "a.py").write_text("def f():\n    pass\n")
    (tmp_path / "b.py").write_text("class C:\n    def m(self):\n        pass\n")
    (tmp_path / "bad.py").write_text("def (\n")
    measured = measure_package(tmp_path, TOP_LEVEL)
    assert measured == PackageMeasure(
        package=TOP_LEVEL,
        files=3,
        lines=6,
        functions=2,
        classes=1,
        deepest=Nesting(2, "b", 3),
        largest=[ModuleSize("b", 3), ModuleSize("a", 2), ModuleSize("bad", 1)],
        not_python=["bad"],
    )


def test_the_library_adds_up_its_packages() -> None:
    """Most functions first; the deepest nesting and the largest modules over all."""
    first = PackageMeasure("a", 1, 10, 1, 0, Nesting(2, "a.x", 3), [ModuleSize("a.x", 10)], [])
    second = PackageMeasure("b", 2, 30, 5, 1, Nesting(4, "b.y", 9), [ModuleSize("b.y", 25)], ["b.bad"])
    total = combine([first, second])
    assert (total.packages, total.files, total.lines, total.functions, total.classes) == (2, 3, 40, 6, 1)
    assert total.largest == [ModuleSize("b.y", 25), ModuleSize("a.x", 10)]
    assert [nesting.module for nesting in total.deepest] == ["b.y", "a.x"]
    assert total.per_package == [second, first]
    assert total.not_python == ["b.bad"]


def test_this_pythons_library_is_found() -> None:
    """The input of the quickstart is on every machine."""
    root = library_folder()
    packages = find_packages(root)
    assert "json" in packages
    assert sum(len(package_files(root, package)) for package in packages) > 500
