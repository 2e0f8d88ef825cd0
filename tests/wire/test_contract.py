"""The generated messages against the facts of the contract, and against what an official SDK brings."""

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, FileDescriptor

from treadle.wire.contract import HATCHET_METHODS, METHODS, TREADLE_METHODS

FACTS: dict[str, Any] = json.loads((Path(__file__).parent / "contract.json").read_text())

MODULES = (
    "dispatcher_pb2",
    "events_pb2",
    "workflows_pb2",
    "v1.dispatcher_pb2",
    "v1.workflows_pb2",
    "v1.shared.condition_pb2",
    "v1.shared.trigger_pb2",
)
TYPE_NAMES = {
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_BYTES: "bytes",
    FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_INT32: "int32",
    FieldDescriptor.TYPE_INT64: "int64",
    FieldDescriptor.TYPE_FLOAT: "float",
}


def our_files() -> list[FileDescriptor]:
    return [importlib.import_module(f"treadle.wire.gen.hatchet.{name}").DESCRIPTOR for name in MODULES]


def type_of(field: FieldDescriptor) -> str:
    if field.message_type is not None:
        if field.message_type.GetOptions().map_entry:
            key, value = (field.message_type.fields_by_name[name] for name in ("key", "value"))
            return f"map<{type_of(key)}, {type_of(value)}>"
        return str(field.message_type.full_name)
    if field.enum_type is not None:
        return str(field.enum_type.full_name)
    return TYPE_NAMES[field.type]


def label_of(field: FieldDescriptor) -> str:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return "map"
    if field.is_repeated:
        return "repeated"
    oneof = field.containing_oneof
    return "optional" if oneof is not None and oneof.name == f"_{field.name}" else "singular"


def facts_of_field(field: FieldDescriptor) -> list[Any]:
    label = label_of(field)
    oneof = "" if field.containing_oneof is None or label == "optional" else field.containing_oneof.name
    return [field.number, label, type_of(field), oneof]


def facts_of(files: list[FileDescriptor]) -> dict[str, dict[str, Any]]:
    messages: dict[str, Any] = {}
    enums: dict[str, Any] = {}
    for file in files:
        message: Descriptor
        for message in file.message_types_by_name.values():
            fields = {field.name: facts_of_field(field) for field in message.fields}
            messages[message.full_name] = {"file": file.name, "fields": fields}
        enum: EnumDescriptor
        for enum in file.enum_types_by_name.values():
            values = {value.name: value.number for value in enum.values}
            enums[enum.full_name] = {"file": file.name, "values": values}
    return {"messages": messages, "enums": enums}


def test_the_table_of_facts_is_whole() -> None:
    messages = FACTS["messages"].values()
    assert len(messages) == 116
    assert sum(len(message["fields"]) for message in messages) == 431
    assert len(FACTS["enums"]) == 19
    assert len(FACTS["methods"]) == 36


def test_messages_and_enums_are_those_of_the_contract() -> None:
    found = facts_of(our_files())
    wanted = {name: {"file": facts["file"], "fields": facts["fields"]} for name, facts in FACTS["messages"].items()}
    assert found["messages"] == wanted
    assert found["enums"] == FACTS["enums"]


def test_reserved_numbers_are_those_of_the_contract() -> None:
    from google.protobuf import descriptor_pb2

    found = {}
    for file in our_files():
        proto = descriptor_pb2.FileDescriptorProto.FromString(file.serialized_pb)
        prefix = f"{proto.package}." if proto.package else ""
        for message in proto.message_type:
            if message.reserved_range:
                ranges = [[each.start, each.end - 1] for each in message.reserved_range]
                found[prefix + message.name] = ranges
    wanted = {name: facts["reserved"] for name, facts in FACTS["messages"].items() if "reserved" in facts}
    assert found == wanted


def test_methods_are_those_of_the_contract() -> None:
    found = {
        path: [
            method.request_class.DESCRIPTOR.full_name,
            method.response_class.DESCRIPTOR.full_name,
            method.client_streaming,
            method.server_streaming,
        ]
        for path, method in HATCHET_METHODS.items()
    }
    assert found == FACTS["methods"]


def test_the_own_methods_are_there_too() -> None:
    assert set(TREADLE_METHODS) == {"/treadle.v1.Worker/Session", "/treadle.v1.Events/Push"} | {
        f"/treadle.v1.Runs/{name}" for name in ("Start", "Await", "Get", "List", "Cancel", "Replay")
    }
    assert METHODS.keys() == HATCHET_METHODS.keys() | TREADLE_METHODS.keys()


def _official() -> Iterator[FileDescriptor]:
    for name in MODULES:
        yield importlib.import_module(f"hatchet_sdk.contracts.{name}").DESCRIPTOR


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_official_sdk_brings_the_same() -> None:
    official = list(_official())
    ours = our_files()
    assert facts_of(ours) == facts_of(official)

    def services(files: list[FileDescriptor]) -> dict[str, list[str]]:
        return {
            service.full_name: sorted(method.name for method in service.methods)
            for file in files
            for service in file.services_by_name.values()
        }

    assert services(ours) == services(official)
