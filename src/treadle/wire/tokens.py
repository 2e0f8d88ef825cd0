"""Issuing and verifying tokens: JWTs signed with the engine's secret."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jwt

from treadle.model.errors import PermissionDenied, TreadleError
from treadle.model.ids import is_id
from treadle.wire.claims import Claims, claims_from

if TYPE_CHECKING:
    from datetime import datetime

    from jwt.types import Options

# The only one accepted: a token that names another, or "none", was not issued here.
_ALGORITHM = "HS256"


def issue_token(
    secret: str | bytes,
    *,
    tenant_id: str,
    token_id: str,
    server_url: str,
    grpc_address: str,
    issued_at: datetime,
    expires_at: datetime,
) -> str:
    """Make a token.

    Args:
        secret: Signing key, at least 32 bytes.
        tenant_id: Whom the caller works for.
        token_id: Id under which the token can be revoked.
        server_url: Where the REST API is, for clients that have nothing but the token.
        grpc_address: ``host:port`` of gRPC, for the same clients.
        issued_at: Now, with a time zone.
        expires_at: From then on it is refused; with a time zone.
    """
    claims = {
        "sub": tenant_id,
        "iss": server_url,
        "aud": server_url,
        "iat": int(issued_at.timestamp()),
        "exp": int(expires_at.timestamp()),
        "token_id": token_id,
        "server_url": server_url,
        "grpc_broadcast_address": grpc_address,
    }
    return jwt.encode(claims, secret, algorithm=_ALGORITHM)


def verify_token(secret: str | bytes, token: str, *, now: datetime) -> Claims:
    """Check the signature and the time limit of a token; revocation is the caller's to check.

    Raises:
        PermissionDenied: It is not a token of this engine, or has expired. The message says which.
    """
    try:
        # The time is compared below: the library would read the clock itself.
        options: Options = {"verify_exp": False, "verify_iat": False, "verify_nbf": False, "verify_aud": False}
        claims = claims_from(jwt.decode(token, secret, algorithms=[_ALGORITHM], options=options))
    except jwt.InvalidSignatureError:
        raise PermissionDenied("token", "was not issued by this engine (wrong signature)") from None
    except (jwt.InvalidTokenError, ValueError) as error:
        raise PermissionDenied("token", f"is not valid: {error}") from None
    except TreadleError as error:
        raise PermissionDenied(error.field, error.message) from None
    if claims.expires_at is None:
        raise PermissionDenied("token", "has no time limit (claim 'exp')")
    if claims.expires_at <= now:
        raise PermissionDenied("token", f"expired at {claims.expires_at.isoformat()}")
    if not is_id(claims.tenant_id) or not is_id(claims.token_id):
        raise PermissionDenied("token", "names its tenant or itself by something that is no id")
    return claims
