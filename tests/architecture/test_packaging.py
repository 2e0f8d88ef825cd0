"""What pip is told."""

import re
import tomllib
from importlib.metadata import distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PIN = re.compile(r"[A-Za-z0-9._-]+==[A-Za-z0-9._]+")
# pip comes with the virtual environment, and treadle is ours
UNPINNED = {"pip", "setuptools", "treadle"}


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").split()
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}


def test_constraints_are_plain_pins() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if not PIN.fullmatch(line)] == []


def test_every_direct_requirement_is_pinned_to_a_version_it_allows() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [text for texts in project["optional-dependencies"].values() for text in texts]
    pinned = pins()
    wrong = []
    for text in [*project["dependencies"], *extras]:
        requirement = Requirement(text)
        version = pinned.get(canonicalize_name(requirement.name))
        if version is None or version not in requirement.specifier:
            wrong.append(f"{text}: {version}")
    assert wrong == []


def test_what_is_installed_is_what_is_pinned() -> None:
    installed = {canonicalize_name(one.metadata["Name"]): one.version for one in distributions()}
    pinned = pins()
    different = {
        name: (version, pinned.get(name))
        for name, version in installed.items()
        if name not in UNPINNED and pinned.get(name) != version
    }
    assert different == {}
