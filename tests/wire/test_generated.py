"""The generated code: a private pool for the shared messages, and nothing lost by it."""

import copy
import pickle
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from google.protobuf import json_format, timestamp_pb2

from treadle.wire.gen.hatchet import _pool, dispatcher_pb2, events_pb2
from treadle.wire.gen.hatchet.v1 import workflows_pb2
from treadle.wire.gen.treadle.v1 import runs_pb2, worker_pb2

ROOT = Path(__file__).parents[2]

OURS = """
from treadle.wire.gen.hatchet import dispatcher_pb2, events_pb2, workflows_pb2
from treadle.wire.gen.hatchet.v1 import dispatcher_pb2 as v1_dispatcher, workflows_pb2 as v1_workflows
from treadle.wire.gen.treadle.v1 import runs_pb2, worker_pb2
"""
THEIRS = "import hatchet_sdk\n"
EXCHANGE = """
from hatchet_sdk.contracts import dispatcher_pb2 as theirs
sent = theirs.WorkerRegisterRequest(worker_name="w", slot_config={"default": 3})
sent.labels["gpu"].int_value = 4
got = dispatcher_pb2.WorkerRegisterRequest.FromString(sent.SerializeToString())
assert dict(got.slot_config) == {"default": 3} and got.labels["gpu"].int_value == 4
assert type(got) is not type(sent)
assert theirs.WorkerRegisterRequest.FromString(got.SerializeToString()) == sent
"""


@pytest.mark.parametrize("program", [THEIRS + OURS, OURS + THEIRS], ids=["theirs first", "ours first"])
def test_an_official_sdk_lives_in_the_same_process(program: str) -> None:
    subprocess.run([sys.executable, "-c", program + EXCHANGE], check=True, timeout=60, cwd=ROOT / "tests")


def test_the_generated_code_is_fresh() -> None:
    subprocess.run([sys.executable, ROOT / "scripts/gen.py", "--check"], check=True, timeout=60)


def test_timestamps_of_the_private_pool_have_their_methods() -> None:
    moment = datetime(2026, 3, 4, 5, 6, 7, 891_000, tzinfo=UTC)
    event = events_pb2.Event(key="k")
    assert not event.HasField("event_timestamp")
    event.event_timestamp.FromDatetime(moment)
    assert event.HasField("event_timestamp")
    assert event.event_timestamp.ToDatetime(UTC) == moment
    event.event_timestamp.GetCurrentTime()
    assert event.event_timestamp.ToMilliseconds() > moment.timestamp() * 1000
    assert isinstance(event.event_timestamp, _pool.Timestamp)
    assert not isinstance(event.event_timestamp, timestamp_pb2.Timestamp)
    stamp = _pool.Timestamp(seconds=3)
    assert events_pb2.Event(event_timestamp=stamp).event_timestamp.seconds == 3


def test_presence_maps_and_nested_messages_work() -> None:
    action = dispatcher_pb2.AssignedAction(task_name="a", child_workflow_index=0)
    assert action.HasField("child_workflow_index")
    assert not action.HasField("additional_metadata")
    details = workflows_pb2.GetRunDetailsResponse()
    details.task_runs["a"].output = b"1"
    assert workflows_pb2.GetRunDetailsResponse.FromString(details.SerializeToString()) == details
    assert copy.deepcopy(details) == details
    assert json_format.Parse(json_format.MessageToJson(details), workflows_pb2.GetRunDetailsResponse()) == details
    assert pickle.loads(pickle.dumps(worker_pb2.Attempt(task_id="a"))) == worker_pb2.Attempt(task_id="a")


def test_own_messages_share_their_parts() -> None:
    frame = worker_pb2.WorkerFrame(
        hello=worker_pb2.Hello(name="w", slots={"default": 2}),
        failed=[worker_pb2.Failure(task_id="a", attempt=1, retry_after_ms=0)],
    )
    again = worker_pb2.WorkerFrame.FromString(frame.SerializeToString())
    assert again == frame
    assert again.failed[0].HasField("retry_after_ms")
    detail = runs_pb2.RunDetail(logs=[worker_pb2.LogLine(message="m")])
    detail.run.created_at.CopyFrom(timestamp_pb2.Timestamp(seconds=1))
    assert detail.run.HasField("created_at")
    outcome = runs_pb2.StartOutcome(problem=runs_pb2.Problem(code=3))
    assert outcome.WhichOneof("outcome") == "problem"
