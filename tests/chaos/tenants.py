"""A second tenant, to look over the fence from."""

from datetime import UTC, datetime, timedelta

import asyncpg

from treadle.model.ids import new_id
from treadle.wire.tokens import issue_token


async def other_tenant_token(connection: asyncpg.Connection, *, grpc_address: str) -> str:
    """Make a tenant and a valid token of it."""
    public_id, token_id = new_id(), new_id()
    now = datetime.now(UTC)
    expires = now + timedelta(hours=1)
    tenant = await connection.fetchval(
        "INSERT INTO treadle.tenant (public_id, name, created_at) VALUES ($1, $2, $3) RETURNING id",
        public_id,
        f"other-{public_id}",
        now,
    )
    await connection.execute(
        "INSERT INTO treadle.api_token (token_id, tenant_id, name, created_at, expires_at)"
        " VALUES ($1, $2, 'other', $3, $4)",
        token_id,
        tenant,
        now,
        expires,
    )
    secret = await connection.fetchval("SELECT secret FROM treadle.signing_key")
    return issue_token(
        secret,
        tenant_id=public_id,
        token_id=token_id,
        server_url="http://127.0.0.1",
        grpc_address=grpc_address,
        issued_at=now,
        expires_at=expires,
    )
