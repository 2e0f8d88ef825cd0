"""Looks at what answers at the engine's address before gRPC does, to name the mistake when it is not an engine.

gRPC itself reports a web server as "message larger than max" or "connection reset"; the bytes that come back tell more.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from typing import TYPE_CHECKING

from treadle.sdk.errors import ConnectionProblem

if TYPE_CHECKING:
    from treadle.sdk.connection import Connection

# The client preface of HTTP/2 and an empty SETTINGS frame: what every gRPC connection starts with.
_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5)
_SETTINGS_FRAME = 4
_FRAME_HEADER = 9
_TLS_ALERT = b"\x15\x03"
_ANSWER_SECONDS = 3.0


async def probe(connection: Connection, *, seconds: float = _ANSWER_SECONDS) -> None:
    """Return when something at the address, or at one of the addresses, speaks HTTP/2.

    Args:
        connection: Where to knock.
        seconds: Time to wait for the connection, and again for an answer.

    Raises:
        ConnectionProblem: It does not; `not-running` is the only kind that may heal by waiting.
    """
    problems: list[ConnectionProblem] = []
    for one in connection.one_by_one():
        try:
            await _probe_one(one, seconds)
        except ConnectionProblem as problem:
            problems.append(problem)
        else:
            return
    # One that may heal by waiting is worth waiting for.
    raise next((problem for problem in problems if problem.mistake == "not-running"), problems[0])


async def _probe_one(connection: Connection, seconds: float) -> None:
    where = f"{connection.target} (from {connection.address_from})"
    context: ssl.SSLContext | None = None
    if connection.secure:
        context = ssl.create_default_context()
        context.set_alpn_protocols(["h2"])
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_connection(connection.host, connection.port, ssl=context)
    except ssl.SSLCertVerificationError as error:
        raise ConnectionProblem("tls", f"the certificate of {where} is not trusted: {error.verify_message}") from None
    except ssl.SSLError:
        raise ConnectionProblem(
            "tls", f"{where} does not speak TLS: write {connection.target} without grpcs://"
        ) from None
    except socket.gaierror as error:
        raise ConnectionProblem(
            "bad-address", f"the host name of {where} cannot be resolved: {error.strerror}"
        ) from None
    except TimeoutError:
        raise ConnectionProblem(
            "not-running", f"{where} does not answer: is the address right, and does a firewall let it through?"
        ) from None
    except ConnectionRefusedError:
        raise ConnectionProblem("not-running", _not_up(where)) from None
    except OSError as error:
        raise ConnectionProblem("not-running", f"{_not_up(where)} ({error})") from None
    try:
        writer.write(_HELLO)
        async with asyncio.timeout(seconds):
            answer = await reader.read(_FRAME_HEADER + 32)
    except (TimeoutError, OSError):
        answer = b""
    finally:
        writer.close()
        with contextlib.suppress(OSError, TimeoutError, ssl.SSLError):
            async with asyncio.timeout(0.2):
                await writer.wait_closed()
    _judge(answer, where, connection)


def _not_up(where: str) -> str:
    return f"no engine listens at {where}: start one with `treadle dev` or `treadle serve`, or correct the address"


def _judge(answer: bytes, where: str, connection: Connection) -> None:
    if len(answer) > _FRAME_HEADER and answer[3] == _SETTINGS_FRAME:
        return
    if len(answer) == _FRAME_HEADER and answer[3] == _SETTINGS_FRAME:
        return  # an empty SETTINGS frame
    if answer.startswith((b"HTTP/", b"<")) or b"html" in answer.lower():
        raise ConnectionProblem(
            "http-port",
            f"{where} is a web address, not gRPC: use the engine's gRPC port (`grpc_address` in its ready message, 7077 "
            "unless it was changed)",
        )
    if answer.startswith(_TLS_ALERT):
        raise ConnectionProblem("tls", f"{where} expects TLS: write grpcs://{connection.target}")
    if not answer:
        raise ConnectionProblem(
            "tls" if not connection.secure else "bad-address",
            f"{where} accepts connections but does not answer gRPC: if it expects TLS write grpcs://"
            f"{connection.target}, else check the port",
        )
    raise ConnectionProblem("bad-address", f"{where} is another service, not gRPC (it answered {answer[:20]!r})")
