"""Tokens: issued to workers and clients, and checked at the door of every call."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import TYPE_CHECKING

from treadle.model.errors import PermissionDenied
from treadle.model.ids import new_id
from treadle.runtime.clock import SystemClock, moment
from treadle.storage import tenants as rows
from treadle.storage.database import Database
from treadle.storage.leases import hint
from treadle.storage.migrate import migrate
from treadle.wire.serving import Caller
from treadle.wire.tokens import issue_token, verify_token

if TYPE_CHECKING:
    from datetime import timedelta

    from treadle.runtime.clock import Clock
    from treadle.server.settings import Settings

DEFAULT_TENANT = "default"
_SECRET_BYTES = 48
# A revoked token works for at most this long.
_CACHE_SECONDS = 5.0
_CACHE_SIZE = 10_000


class Gate:
    """Checks the tokens of calls.

    Args:
        database: where issued tokens are noted.
        clock: the time.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._secret = b""
        self._known: dict[str, tuple[float, Caller]] = {}

    async def open(self) -> None:
        """Read the signing key; make it and the default tenant at the first start."""
        async with self._database.transaction() as conn:
            now = moment(self._clock.now())
            self._secret = await rows.ensure_signing_key(conn, secret=secrets.token_bytes(_SECRET_BYTES), now=now)
            await rows.ensure_tenant(conn, public_id=new_id(), name=DEFAULT_TENANT, now=now)

    async def check(self, token: str) -> Caller:
        """Whom a token speaks for.

        Raises:
            PermissionDenied: forged, expired, revoked, or no token at all.
        """
        now = self._clock.now()
        known = self._known.get(token)
        if known is not None and now < known[0]:
            return known[1]
        claims = verify_token(self._secret, token, now=moment(now))
        async with self._database.connection() as conn:
            tenant = await rows.find_token(conn, token_id=claims.token_id)
        if tenant is None:
            raise PermissionDenied("token", "was revoked, or belongs to another database")
        if tenant.public_id != claims.tenant_id:
            raise PermissionDenied("token", "names another tenant than it was issued for")
        caller = Caller(tenant.id, tenant.public_id, claims.token_id)
        if len(self._known) >= _CACHE_SIZE:
            self._known.clear()
        until = now + _CACHE_SECONDS
        if claims.expires_at is not None:
            until = min(until, claims.expires_at.timestamp())
        self._known[token] = (until, caller)
        return caller

    def engine_token(self) -> str:
        """What engines on this database show each other; derived from the signing key, so nobody else has it."""
        return hmac.new(self._secret, b"treadle engines", hashlib.sha256).hexdigest()

    def check_engine(self, token: str) -> Caller:
        """Let another engine in.

        Raises:
            PermissionDenied: the caller is none.
        """
        if not hmac.compare_digest(token, self.engine_token()):
            raise PermissionDenied("token", "is not that of an engine on this database")
        return Caller(0, "", "")

    async def issue(
        self, *, name: str, expires_in: timedelta, server_url: str, grpc_address: str, tenant: str = DEFAULT_TENANT
    ) -> str:
        """Make a token for a tenant, which is made too if it is new."""
        now = self._clock.now()
        expires_at = moment(now) + expires_in
        token_id = new_id()
        async with self._database.transaction() as conn:
            row = await rows.ensure_tenant(conn, public_id=new_id(), name=tenant, now=moment(now))
            # The tenant may be new: an engine is to take it.
            await hint(conn, text="leases")
            await rows.insert_token(
                conn, token_id=token_id, tenant_id=row.id, name=name, created_at=moment(now), expires_at=expires_at
            )
        return issue_token(
            self._secret,
            tenant_id=row.public_id,
            token_id=token_id,
            server_url=server_url,
            grpc_address=grpc_address,
            issued_at=moment(now),
            expires_at=expires_at,
        )


async def create_token(settings: Settings, *, name: str, expires_in: timedelta, tenant: str = DEFAULT_TENANT) -> str:
    """Make a token for an engine that may not be running.

    Args:
        settings: must name the database; addresses in the token are those of the settings.
        name: what the token is for.
        expires_in: how long it is valid.
        tenant: name of its tenant, made if it is new.
    """
    if settings.database_url is None:
        msg = "create_token needs a database URL"
        raise ValueError(msg)
    await migrate(settings.database_url)
    database = Database(settings.database_url, size=1)
    await database.open()
    try:
        gate = Gate(database, SystemClock())
        await gate.open()
        return await gate.issue(
            name=name,
            expires_in=expires_in,
            server_url=settings.public_http_url or f"http://{settings.host}:{settings.http_port}",
            grpc_address=settings.public_grpc_address or f"{settings.host}:{settings.grpc_port}",
            tenant=tenant,
        )
    finally:
        await database.close()
