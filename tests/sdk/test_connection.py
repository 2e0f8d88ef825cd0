"""Finding the engine, and naming the mistake when what is there is not one."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import http.server
import json
import socket
import ssl
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from tests.sdk.peer import TOKEN, PeerEngine
from treadle import ConnectionProblem, Treadle, Worker
from treadle.runtime.connection import ConnectionInfo
from treadle.sdk.connection import discover

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def token_for(address: str) -> str:
    claims = {"sub": "tenant", "token_id": "t", "server_url": "http://x", "grpc_broadcast_address": address}
    middle = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"eyJh.{middle}.sig"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def first_call(address: str, token: str = TOKEN) -> ConnectionProblem:
    app = Treadle(token, address)
    try:
        with pytest.raises(ConnectionProblem) as caught:
            app.remote("job").start().wait(20)
    finally:
        app.close()
    return caught.value


# -- where to look -----------------------------------------------------------------------------------------------------


def test_arguments_beat_the_environment(tmp_path: Path) -> None:
    env = {"TREADLE_TOKEN": token_for("env:1"), "TREADLE_URL": "env:2", "TREADLE_DATA_DIR": str(tmp_path)}
    assert discover("mine", "host:3", environ=env).target == "host:3"
    assert discover(environ=env).target == "env:2"
    assert discover(environ=env).token == env["TREADLE_TOKEN"]


def test_the_token_names_the_address(tmp_path: Path) -> None:
    env = {"TREADLE_TOKEN": token_for("engine.example:7077"), "TREADLE_DATA_DIR": str(tmp_path)}
    found = discover(environ=env)
    assert found.target == "engine.example:7077"
    assert "TREADLE_TOKEN" in found.address_from


def test_the_engine_on_this_machine_is_found(tmp_path: Path) -> None:
    info = ConnectionInfo("http://x", "127.0.0.1:7", "postgres://", "secret", 1)
    (tmp_path / "connection.json").write_text(info.to_json())
    found = discover(environ={"TREADLE_DATA_DIR": str(tmp_path)})
    assert (found.target, found.token) == ("127.0.0.1:7", "secret")
    assert "secret" not in repr(found)


def test_nothing_configured_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(ConnectionProblem, match="treadle dev") as caught:
        discover(environ={"TREADLE_DATA_DIR": str(tmp_path)})
    assert caught.value.mistake == "not-configured"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://localhost:8080", "a web address"),
        ("https://localhost", "a web address"),
        ("localhost", "write host:port"),
        ("localhost:99999", "write host:port"),
        ("ftp://localhost:1", "write host:port"),
        ("one:1,", "write host:port"),
        ("grpcs://one:1,two:2", "for all addresses, or for none"),
    ],
)
def test_malformed_addresses(url: str, message: str) -> None:
    with pytest.raises(ConnectionProblem, match=message) as caught:
        discover("token", url, environ={})
    assert caught.value.mistake == "bad-address"


def test_schemes_and_ipv6() -> None:
    assert discover("t", "grpcs://engine:443", environ={}).secure
    assert not discover("t", "grpc://engine:443", environ={}).secure
    assert discover("t", "[::1]:7077", environ={}).host == "::1"


def test_several_engines() -> None:
    found = discover("t", "one:1, grpc://two:2,[::1]:3", environ={})
    assert found.addresses == (("one", 1), ("two", 2), ("::1", 3))
    assert [one.target for one in found.one_by_one()] == ["one:1", "two:2", "::1:3"]


def test_a_malformed_token_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConnectionProblem, match="TREADLE_TOKEN is malformed"):
        discover(environ={"TREADLE_TOKEN": "rubbish", "TREADLE_DATA_DIR": str(tmp_path)})


# -- what answers there ------------------------------------------------------------------------------------------------


def test_no_engine_says_what_to_run() -> None:
    problem = first_call(f"127.0.0.1:{free_port()}")
    assert problem.mistake == "not-running"
    assert "treadle dev" in str(problem)


def test_any_of_several_engines_will_do(engine: PeerEngine) -> None:
    """A wrong token is what is told, and not that another address is dead: the engine that lives was asked."""
    for url in (f"127.0.0.1:{free_port()},{engine.address}", f"{engine.address},127.0.0.1:{free_port()}"):
        assert first_call(url, "stolen").mistake == "token"
        with contextlib.closing(Treadle(TOKEN, url)) as app:
            assert app.remote("job").start().wait(20).id


def test_a_wrong_token(engine: PeerEngine) -> None:
    problem = first_call(engine.address, "stolen")
    assert problem.mistake == "token"
    assert "treadle token create" in str(problem)


def test_the_port_of_the_web_interface() -> None:
    class Quiet(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            problem = first_call(f"127.0.0.1:{server.server_address[1]}")
        finally:
            server.shutdown()
            thread.join(10)
    assert problem.mistake == "http-port"
    assert "7077" in str(problem)


@contextlib.contextmanager
def tls_server(folder: Path) -> Iterator[int]:
    """Something that speaks TLS and nothing else, with a certificate nobody trusts."""
    key, certificate = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "1",
            "-subj",
            "/CN=localhost",
            "-keyout",
            str(key),
            "-out",
            str(certificate),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True) as wrapped:
                wrapped.recv(1)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)


def test_an_engine_behind_tls(tmp_path: Path) -> None:
    with tls_server(tmp_path) as port:
        problem = first_call(f"127.0.0.1:{port}")
        untrusted = first_call(f"grpcs://localhost:{port}")
    assert problem.mistake == "tls"
    assert f"grpcs://127.0.0.1:{port}" in str(problem)
    assert untrusted.mistake == "tls"
    assert "not trusted" in str(untrusted)


def test_tls_towards_an_engine_without(engine: PeerEngine) -> None:
    problem = first_call(f"grpcs://{engine.address}")
    assert problem.mistake == "tls"
    assert "without grpcs://" in str(problem)


def test_another_service() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            connection.recv(100)
            connection.sendall(b"220 mail.example ESMTP\r\n")
            connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        problem = first_call(f"127.0.0.1:{listener.getsockname()[1]}")
        thread.join(10)
    assert problem.mistake == "bad-address"
    assert "mail.example" in str(problem)


def test_the_first_call_waits_a_little_for_an_engine_that_is_starting() -> None:
    port = free_port()
    app = Treadle(TOKEN, f"127.0.0.1:{port}")
    started: list[str] = []
    thread = threading.Thread(target=lambda: started.append(app.remote("job").start().wait(20).id))
    thread.start()
    with PeerEngine(port) as engine:
        thread.join(20)
        assert started == list(engine.runs)
        app.close()


async def test_a_worker_with_a_wrong_token_ends(engine: PeerEngine) -> None:
    app = Treadle("stolen", engine.address)

    @app.task
    async def job() -> None: ...

    with pytest.raises(ConnectionProblem, match="refuses the token"):
        await asyncio.wait_for(Worker(app).run(), 20)
    app.close()
