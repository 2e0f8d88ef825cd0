"""`trigger` and `runs` against a real engine: output and exit codes."""

import json
from pathlib import Path
from uuid import uuid4

import pytest

from tests.cli.cli_process import treadle
from tests.cli.conftest import Shop
from tests.support.eventually import eventually_sync
from treadle.cli.exits import Exit
from treadle.model.ids import new_id


@pytest.fixture(autouse=True)
def _worker_is_there(shop: Shop) -> None:
    def registered() -> None:
        assert shop("trigger", "add", "-i", "a=1", "--wait").code == Exit.OK

    eventually_sync(registered, timeout=30)


def test_trigger_prints_an_id_that_get_knows(shop: Shop) -> None:
    started = shop("trigger", "add", "--input", '{"a": 40, "b": 2}', "--meta", "team=a", "--priority", "3")
    assert started.code == Exit.OK
    run_id = started.out.strip()

    def completed() -> None:
        found = shop("runs", "get", run_id, "-o", "json")
        assert found.code == Exit.OK
        run = found.json()
        assert (run["id"], run["task"], run["status"]) == (run_id, "add", "COMPLETED")
        assert (run["input"], run["output"]) == ({"a": 40, "b": 2}, 42)
        assert (run["metadata"], run["priority"], run["attempt"]) == ({"team": "a"}, 3, 1)
        assert run["duration_ms"] >= 0
        assert run["events"]

    eventually_sync(completed)
    shown = shop("runs", "get", run_id).out
    assert "COMPLETED" in shown
    assert "history" in shown


def test_wait_prints_the_output(shop: Shop) -> None:
    assert shop("trigger", "add", "-i", "a=40", "-i", "b=2", "--wait").out == "42\n"
    done = shop("trigger", "describe", "-i", "-", "--wait", "-o", "json", stdin='{"text": "ü"}')
    assert done.code == Exit.OK
    answer = done.json()
    assert (answer["status"], answer["output"], answer["error"]) == ("COMPLETED", {"text": "ü"}, None)


def test_a_failed_run_is_exit_code_1(shop: Shop) -> None:
    done = shop("trigger", "fail", "-i", "reason=not today", "--wait")
    assert done.code == Exit.RUN_FAILED
    assert done.out == ""
    assert "not today" in done.err


def test_waiting_ends_with_exit_code_6_and_the_run_goes_on(shop: Shop, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    done = shop("trigger", "wait_for", "-i", f"gate={gate}", "--timeout", "500ms", "-o", "json")
    assert done.code == Exit.TIMED_OUT
    run_id = json.loads(done.err)["hint"].split()[-1]
    gate.touch()

    def completed() -> None:
        assert shop("runs", "get", run_id, "-o", "json").json()["status"] == "COMPLETED"

    eventually_sync(completed)


def test_cancel_by_id(shop: Shop, tmp_path: Path) -> None:
    run_id = shop("trigger", "wait_for", "-i", f"gate={tmp_path / 'never'}").out.strip()
    done = shop("runs", "cancel", run_id)
    assert (done.code, done.out.strip()) == (Exit.OK, run_id)
    assert "1 cancelled" in done.err
    assert shop("runs", "get", run_id, "-o", "json").json()["status"] == "CANCELLED"
    assert shop("runs", "cancel", run_id, "-o", "json").json() == {"cancelled": []}


def test_filters_ask_first(shop: Shop, tmp_path: Path) -> None:
    mark = uuid4().hex
    ids = {
        shop("trigger", "wait_for", "-i", f"gate={tmp_path / 'never'}", "--meta", f"mark={mark}").out.strip()
        for _ in range(2)
    }
    chosen = ("--task", "wait_for", "--since", "1h", "--meta", f"mark={mark}")
    refused = shop("runs", "cancel", *chosen)
    assert refused.code == Exit.USAGE
    assert "2 runs match" in refused.err
    assert "--yes" in refused.err
    looked = shop("runs", "cancel", *chosen, "--dry-run")
    assert looked.code == Exit.OK
    assert "2 runs match" in looked.err
    assert set(shop("runs", "cancel", *chosen, "--yes").out.split()) == ids
    again = shop("runs", "cancel", *chosen)
    assert again.code == Exit.OK
    assert "0 runs match" in again.err


def test_replay_gives_a_fresh_attempt(shop: Shop) -> None:
    failed = shop("trigger", "fail", "-i", "reason=x", "--wait", "-o", "json")
    run_id = failed.json()["id"]
    done = shop("runs", "replay", run_id)
    assert (done.code, done.out.strip()) == (Exit.OK, run_id)

    def failed_again() -> None:
        run = shop("runs", "get", run_id, "-o", "json").json()
        assert (run["status"], run["attempt"]) == ("FAILED", 2)

    eventually_sync(failed_again)


def test_list_filters_and_forms(shop: Shop) -> None:
    for _ in range(3):
        shop("trigger", "fail", "-i", "reason=x", "--wait")
    rows = shop("runs", "list", "--task", "fail", "--status", "failed", "--limit", "2", "-o", "json").json()
    assert [row["status"] for row in rows] == ["FAILED", "FAILED"]
    assert rows[0]["id"] > rows[1]["id"]
    lines = shop("runs", "list", "--task", "fail", "--limit", "2", "-o", "jsonl").out.splitlines()
    assert [json.loads(line)["id"] for line in lines] == [row["id"] for row in rows]
    table = shop("runs", "list", "--task", "fail", "--limit", "2").out.splitlines()
    assert table[0].split()[:3] == ["ID", "TASK", "STATUS"]
    assert table[1].split()[:3] == [rows[0]["id"], "fail", "FAILED"]
    assert shop("runs", "list", "--until", "365d", "-o", "json").json() == []


def test_what_is_not_there_is_exit_code_3(shop: Shop) -> None:
    for arguments in (["runs", "get", new_id()], ["trigger", "nobody-knows-this"]):
        done = shop(*arguments)
        assert done.code == Exit.NOT_FOUND, done.err
    assert shop("runs", "get", "not-an-id").code == Exit.USAGE


def test_a_wrong_token_is_exit_code_4(shop: Shop) -> None:
    token = shop.engine.token
    done = treadle("runs", "list", env={**shop.engine.client_env, "TREADLE_TOKEN": f"{token[:-6]}AAAAAA"})
    assert done.code == Exit.REFUSED
    assert "token" in done.err


def test_the_http_port_is_named(shop: Shop) -> None:
    address = shop.engine.http_url.removeprefix("http://").rstrip("/")
    done = treadle("runs", "list", env={**shop.engine.client_env, "TREADLE_URL": address})
    assert done.code == Exit.UNREACHABLE
    assert "gRPC port" in done.err


def test_a_new_token_opens_the_door(shop: Shop) -> None:
    made = treadle(
        "token", "create", "--name", "ci", "--expires-days", "1", "--database-url", shop.engine.database_url, env={}
    )
    assert made.code == Exit.OK, made.err
    token = made.out.strip()
    assert token != shop.engine.token
    done = treadle("runs", "list", env={**shop.engine.client_env, "TREADLE_TOKEN": token})
    assert done.code == Exit.OK, done.err


def test_migrate_applies_once(postgres_url: str) -> None:
    from tests.support.databases import new_database

    with new_database(postgres_url) as url:
        first = treadle("migrate", "--database-url", url, "-o", "json", env={})
        assert first.code == Exit.OK, first.err
        assert first.json()["applied"]
        second = treadle("migrate", "--database-url", url, env={})
        assert (second.code, second.out) == (Exit.OK, "")
        assert "up to date" in second.err
    gone = treadle("migrate", "--database-url", "postgresql://nobody@127.0.0.1:1/x", env={})
    assert gone.code == Exit.UNREACHABLE, gone.err
