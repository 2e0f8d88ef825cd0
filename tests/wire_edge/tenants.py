"""Tenants and tokens made directly in the database: there is no call for that yet."""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import uuid4

import asyncpg

from treadle.model.ids import new_id
from treadle.testing.engine import EngineProcess
from treadle.wire.claims import read_claims
from treadle.wire.tokens import issue_token


class Tenant(NamedTuple):
    number: int
    public_id: str


async def add_tenant(engine: EngineProcess) -> Tenant:
    connection = await asyncpg.connect(engine.database_url)
    try:
        public_id = new_id()
        number = await connection.fetchval(
            "INSERT INTO treadle.tenant (public_id, name, created_at) VALUES ($1::text::uuid, $2, now()) RETURNING id",
            public_id,
            f"stranger-{uuid4().hex}",
        )
    finally:
        await connection.close()
    return Tenant(number, public_id)


async def own_tenant(engine: EngineProcess) -> Tenant:
    public_id = read_claims(engine.token).tenant_id
    connection = await asyncpg.connect(engine.database_url)
    try:
        number = await connection.fetchval("SELECT id FROM treadle.tenant WHERE public_id = $1::text::uuid", public_id)
    finally:
        await connection.close()
    return Tenant(number, public_id)


async def token_for(
    engine: EngineProcess,
    tenant: Tenant,
    *,
    lifetime: timedelta = timedelta(hours=1),
    revoked: bool = False,
    listed: bool = True,
    secret: bytes | None = None,
) -> str:
    """A token with the claims of an ordinary one, and with one thing wrong when asked for."""
    now = datetime.now(tz=UTC)
    issued_at = now - timedelta(days=1)
    expires_at = now + lifetime
    token_id = new_id()
    claims = read_claims(engine.token)
    connection = await asyncpg.connect(engine.database_url)
    try:
        key: bytes = await connection.fetchval("SELECT secret FROM treadle.signing_key")
        if listed:
            await connection.execute(
                """INSERT INTO treadle.api_token (token_id, tenant_id, name, created_at, expires_at, revoked_at)
                   VALUES ($1::text::uuid, $2, 'made by a test', $3, $4, $5)""",
                token_id,
                tenant.number,
                issued_at,
                # A token that is too old by its own claims alone: the table would still let it in.
                max(expires_at, now + timedelta(hours=1)),
                now if revoked else None,
            )
    finally:
        await connection.close()
    return issue_token(
        secret or key,
        tenant_id=tenant.public_id,
        token_id=token_id,
        server_url=claims.server_url,
        grpc_address=claims.grpc_address,
        issued_at=issued_at,
        expires_at=expires_at,
    )
