"""Twins of sql/tenants.sql: tenants, the signing key and the tokens that were issued."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from treadle.storage.load import statements
from treadle.storage.rows import only

if TYPE_CHECKING:
    from datetime import datetime

    from treadle.storage.database import Conn

_SQL = statements("tenants")


class TenantRow(NamedTuple):
    """A tenant: its number inside, its id outside."""

    id: int
    public_id: str


async def ensure_signing_key(conn: Conn, *, secret: bytes, now: datetime) -> bytes:
    """The secret that signs tokens; `secret` becomes it if there is none."""
    row = only(await conn.fetchrow(_SQL["ensure_signing_key"], secret, now))
    return bytes(row["secret"])


async def ensure_tenant(conn: Conn, *, public_id: str, name: str, now: datetime) -> TenantRow:
    """The tenant with this name, made if it is new."""
    row = only(await conn.fetchrow(_SQL["ensure_tenant"], public_id, name, now))
    return TenantRow(row[0], str(row[1]))


async def insert_token(
    conn: Conn, *, token_id: str, tenant_id: int, name: str, created_at: datetime, expires_at: datetime
) -> None:
    """Note a token that was issued."""
    await conn.execute(_SQL["insert_token"], token_id, tenant_id, name, created_at, expires_at)


async def find_token(conn: Conn, *, token_id: str) -> TenantRow | None:
    """The tenant that a token belongs to; None when the token is unknown or revoked."""
    row = await conn.fetchrow(_SQL["find_token"], token_id)
    return None if row is None else TenantRow(row[0], str(row[1]))
