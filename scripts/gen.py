"""Turn the .proto files of src/treadle/wire/proto into Python, in src/treadle/wire/gen.

    python scripts/gen.py            write the code
    python scripts/gen.py --check    write nothing; exit 1 when the code is not what would be written

protoc's output is changed in two ways. Imports are made to name our packages. And the messages
shared with other SDKs go into a descriptor pool of their own: such an SDK brings the same
messages, and one pool holds a name only once, so two of them could not live in one process.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "src/treadle/wire/proto"
GEN = ROOT / "src/treadle/wire/gen"
PACKAGE = "treadle.wire.gen"

# The folder that imports between .proto files start from, and the generated package it becomes.
SOURCES = {
    PROTO / "hatchet": (f"{PACKAGE}.hatchet", "hatchet"),
    PROTO: (f"{PACKAGE}", "treadle"),
}

POOL_MODULE = '''"""The descriptor pool of these messages, apart from the one that other SDKs fill."""

from typing import cast

from google.protobuf import descriptor_pool, message_factory, timestamp_pb2

POOL = descriptor_pool.DescriptorPool()
POOL.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)

# Fields of these messages take this class; the one of timestamp_pb2 belongs to the other pool.
Timestamp = cast(
    "type[timestamp_pb2.Timestamp]",
    message_factory.GetMessageClass(POOL.FindMessageTypeByName("google.protobuf.Timestamp")),
)
'''

# The stubs of protobuf itself declare DESCRIPTOR of a message wider than those of its subclasses.
STUB_COMMENT = "# pyright: reportIncompatibleVariableOverride=false\n"

_from_import = re.compile(r"^from (v1(?:\.\w+)*|treadle(?:\.\w+)+) import (\w+_pb2)", re.MULTILINE)
_plain_import = re.compile(r"^import ((?:v1|treadle)(?:\.\w+)*\.(\w+_pb2))$", re.MULTILINE)
_plain_import_as = re.compile(r"^import ((?:v1|treadle)(?:\.\w+)*)\.(\w+_pb2) as (\w+)$", re.MULTILINE)
_module_name = re.compile(r"(BuildTopDescriptorsAndMessages\(DESCRIPTOR, ')([\w.]+')")


def run_protoc(source: Path, subfolder: str, out: Path) -> None:
    """Compile the .proto files of one source folder into `out`."""
    files = sorted(str(path) for path in source.rglob("*.proto") if _belongs(path, source, subfolder))
    plugin = Path(sys.executable).parent / "protoc-gen-mypy"
    subprocess.run(
        [
            sys.executable,
            "-m",
            "grpc_tools.protoc",
            f"--proto_path={source}",
            f"--plugin=protoc-gen-mypy={plugin}",
            f"--python_out={out}",
            f"--mypy_out=quiet:{out}",
            *files,
        ],
        check=True,
    )


def _belongs(path: Path, source: Path, subfolder: str) -> bool:
    return source.name == subfolder or path.relative_to(source).parts[0] == subfolder


def repair(text: str, package: str, *, private_pool: bool) -> str:
    """Make the imports of a generated file name our packages, and give it its pool."""
    text = _from_import.sub(rf"from {package}.\1 import \2", text)
    text = _plain_import_as.sub(rf"from {package}.\1 import \2 as \3", text)
    # A plain import is used by its whole dotted name, which changes everywhere in the file.
    for dotted in {match[0] for match in _plain_import.findall(text)}:
        text = re.sub(rf"(?<![\w.]){re.escape(dotted)}(?!\w)", f"{package}.{dotted}", text)
    # The name of the module is where pickle and tracebacks look for a message.
    text = _module_name.sub(rf"\1{package}.\2", text)
    if private_pool:
        text = text.replace(
            "from google.protobuf import descriptor_pool as _descriptor_pool\n",
            f"from {PACKAGE}.hatchet._pool import POOL as _POOL\n",
        ).replace("_descriptor_pool.Default()", "_POOL")
    return text


def generate(out: Path) -> None:
    """Write the whole generated package into an empty folder."""
    for source, (package, name) in SOURCES.items():
        target = out / name if package.endswith(name) else out
        target.mkdir(parents=True, exist_ok=True)
        run_protoc(source, name, target)
        for path in sorted((out / name).rglob("*_pb2.py*")):
            text = repair(path.read_text(), package, private_pool=name == "hatchet")
            path.write_text(STUB_COMMENT + text if path.suffix == ".pyi" else text)
    (out / "hatchet/_pool.py").write_text(POOL_MODULE)
    for folder in [out, *(path for path in out.rglob("*") if path.is_dir())]:
        (folder / "__init__.py").write_text("")


def contents(folder: Path) -> dict[str, str]:
    """All generated files below a folder, by relative path."""
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.rglob("*.py*"))
        if path.suffix in (".py", ".pyi")
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="Generate the protobuf code.")
    parser.add_argument("--check", action="store_true", help="only tell whether the code is up to date")
    check = parser.parse_args().check
    with tempfile.TemporaryDirectory() as temporary:
        fresh = Path(temporary) / "gen"
        fresh.mkdir()
        generate(fresh)
        wanted, found = contents(fresh), contents(GEN)
        stale = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
        if check:
            for name in stale:
                print(f"stale: {GEN.relative_to(ROOT) / name}")
            if stale:
                print("run `make gen`")
            return 1 if stale else 0
        # One by one: a program that runs meanwhile must not find the whole package gone.
        for name in stale:
            path = GEN / name
            if name in wanted:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(wanted[name])
            else:
                path.unlink()
    print(f"{len(stale)} of {len(wanted)} files changed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
