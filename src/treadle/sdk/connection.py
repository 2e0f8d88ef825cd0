"""Where the engine is and how to be let in: arguments, environment, or the engine on this machine."""

from __future__ import annotations

import os
import random
import re
import socket
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from treadle.model.errors import InvalidInput
from treadle.runtime.connection import CONNECTION_FILE, default_data_dir, read_connection
from treadle.sdk.errors import ConnectionProblem
from treadle.wire.claims import read_claims

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_MAX_MESSAGE_BYTES = 4 * 1024 * 1024

_split_address = re.compile(r"(?:(?P<scheme>[a-z+]+)://)?(?P<host>\[[^\]]+\]|[^:/\[\]]+):(?P<port>\d{1,5})/?").fullmatch
_SECURE = {"grpcs": True, "grpc": False, None: False}


@dataclass(frozen=True, slots=True)
class Connection:
    """An address, a token, and where each came from.

    Attributes:
        host: Name or IP address.
        port: Port of the engine's gRPC side.
        secure: Whether to encrypt (TLS).
        token: The token, kept out of `repr`.
        token_from: In words, for messages.
        address_from: In words, for messages.
        max_message_bytes: Largest message to send.
        others: Host and port of further engines on the same database: any of them will do.
    """

    host: str
    port: int
    secure: bool
    token: str = field(repr=False)
    token_from: str
    address_from: str
    max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES
    others: tuple[tuple[str, int], ...] = ()

    @property
    def target(self) -> str:
        return ",".join(f"{host}:{port}" for host, port in self.addresses)

    @property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        return ((self.host, self.port), *self.others)

    def one_by_one(self) -> list[Connection]:
        """The same with one address each."""
        return [replace(self, host=host, port=port, others=()) for host, port in self.addresses]

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"bearer {self.token}"),)


def discover(
    token: str | None = None,
    url: str | None = None,
    *,
    max_message_bytes: int | None = None,
    environ: Mapping[str, str] | None = None,
) -> Connection:
    """Find the engine: arguments first, then TREADLE_TOKEN and TREADLE_URL, then the engine on this machine.

    Args:
        token: Token, or None.
        url: `host:port` of the engine's gRPC side, `grpcs://host:port` for TLS, or None. Several, separated by commas,
            name engines on the same database.
        max_message_bytes: Largest message to send; None: TREADLE_MAX_MESSAGE_BYTES, else 4 MiB.
        environ: Instead of the process environment.

    Raises:
        ConnectionProblem: Nothing is configured, or the address or token is malformed.
    """
    env = os.environ if environ is None else environ
    token_from, address_from = "the `token` argument", "the `url` argument"
    if not token and (token := env.get("TREADLE_TOKEN")):
        token_from = "TREADLE_TOKEN"  # noqa: S105 - the name of a variable
    if not url and (url := env.get("TREADLE_URL")):
        address_from = "TREADLE_URL"
    if not token:
        file = default_data_dir(env) / CONNECTION_FILE
        info = read_connection(file)
        if info is None:
            raise ConnectionProblem(
                "not-configured",
                f"no engine is configured: TREADLE_TOKEN is not set, and {file} does not exist. Run `treadle dev` for "
                "an engine on this machine, or set TREADLE_TOKEN (and TREADLE_URL=host:port)",
            )
        token, token_from = info.token, str(file)
        if not url:
            url, address_from = info.grpc_address, str(file)
    if not url:
        url, address_from = _address_in(token, token_from), f"the token in {token_from}"
    (host, port, secure), *others = [_parse(part, address_from) for part in url.split(",")]
    if any(other[2] != secure for other in others):
        raise ConnectionProblem(
            "bad-address", f"{address_from} is {url!r}: write grpcs:// for all addresses, or for none"
        )
    size = max_message_bytes or _whole_number(env, "TREADLE_MAX_MESSAGE_BYTES") or DEFAULT_MAX_MESSAGE_BYTES
    return Connection(
        host, port, secure, token.strip(), token_from, address_from, size, tuple(other[:2] for other in others)
    )


def _whole_number(env: Mapping[str, str], name: str) -> int | None:
    text = env.get(name)
    if not text:
        return None
    if not text.isdecimal():
        raise ConnectionProblem("not-configured", f"{name}={text!r} is not a whole number of bytes")
    return int(text)


def _address_in(token: str, token_from: str) -> str:
    try:
        address = read_claims(token).grpc_address
    except InvalidInput as error:
        raise ConnectionProblem(
            "token", f"the token from {token_from} is malformed ({error.message}): copy it again, whole"
        ) from None
    if not address:
        raise ConnectionProblem(
            "not-configured", f"the token from {token_from} names no address: set TREADLE_URL=host:port too"
        )
    return address


def _parse(url: str, address_from: str) -> tuple[str, int, bool]:
    match = _split_address(url.strip())
    scheme = match["scheme"] if match else url.partition("://")[0]
    if scheme in ("http", "https"):
        raise ConnectionProblem(
            "bad-address",
            f"{address_from} is {url!r}, a web address: give the engine's gRPC address instead, as host:port "
            "(port 7077 unless it was changed), or grpcs://host:port for TLS",
        )
    if match is None or scheme not in _SECURE or not 0 < int(match["port"]) < 65536:
        raise ConnectionProblem(
            "bad-address", f"{address_from} is {url!r}: write host:port, or grpcs://host:port for TLS"
        )
    return match["host"].strip("[]"), int(match["port"]), _SECURE[scheme]


def open_channel(connection: Connection) -> grpc.aio.Channel:
    """A channel that notices a dead engine within seconds and comes back soon after it returns."""
    options: list[tuple[str, Any]] = [
        ("grpc.keepalive_time_ms", 10_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.max_send_message_length", connection.max_message_bytes),
        # The engine bounds what it sends; a second limit here could only get in the way of its setting.
        ("grpc.max_receive_message_length", -1),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 2_000),
        # Two apps in one process must not share a connection, or one with a bad day slows the other.
        ("grpc.use_local_subchannel_pool", 1),
        # Retries are ours: only the SDK knows which calls may be repeated.
        ("grpc.enable_retries", 0),
    ]
    target = _literal(connection.host, connection.port)
    if connection.others:
        # gRPC tries the addresses in turn, and again from the first when the one in use breaks.
        options.append(("grpc.default_authority", target))
        if connection.secure:
            options.append(("grpc.ssl_target_name_override", connection.host))
        target = _several(connection)
    if connection.secure:
        return grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(), options=options)
    return grpc.aio.insecure_channel(target, options=options)


def _literal(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _several(connection: Connection) -> str:
    """All addresses as one target of gRPC, in random order, so that clients spread over the engines.

    Such a target takes numbers only, and of one family.
    """
    found: dict[socket.AddressFamily, list[str]] = {}
    for host, port in connection.addresses:
        # A name that cannot be resolved now is one engine less; that none is left is found out by calling.
        with suppress(socket.gaierror):
            for family, _, _, _, place in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
                found.setdefault(family, []).append(_literal(str(place[0]), port))
    if not found:
        return _literal(connection.host, connection.port)
    commonest, literals = max(found.items(), key=lambda entry: len(entry[1]))
    addresses = list(dict.fromkeys(literals))
    random.shuffle(addresses)
    return ("ipv6:" if commonest is socket.AF_INET6 else "ipv4:") + ",".join(addresses)
