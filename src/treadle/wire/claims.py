"""What a token says, read without checking its signature: enough for clients to find the engine."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from treadle.model.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Claims:
    """The claims of a token. The names on the wire are those that the Hatchet SDKs read."""

    tenant_id: str
    token_id: str
    server_url: str
    grpc_address: str
    expires_at: datetime | None


def read_claims(token: str) -> Claims:
    """Read a token's claims. Anyone can write them: never decide access by them.

    Raises:
        InvalidInput: It is not a token of this kind.
    """
    parts = token.split(".")
    if len(parts) != 3:
        raise InvalidInput("token", "is not a token: three parts with dots between them are needed")
    try:
        padded = parts[1] + "=" * (-len(parts[1]) % 4)
        values = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError):
        raise InvalidInput("token", "is not a token: its middle part is no base64url JSON") from None
    return claims_from(values)


def claims_from(values: Any) -> Claims:
    """Pick the claims out of a token's decoded middle part."""
    if not isinstance(values, dict):
        raise InvalidInput("token", "is not a token: its claims are no JSON object")
    expires = values.get("exp")
    if expires is not None and (isinstance(expires, bool) or not isinstance(expires, int | float)):
        raise InvalidInput("token", "has a claim 'exp' that is no number")
    try:
        expires_at = None if expires is None else datetime.fromtimestamp(expires, UTC)
    except (OverflowError, ValueError, OSError):
        raise InvalidInput("token", "has a claim 'exp' that is no time") from None
    return Claims(
        tenant_id=_text(values, "sub"),
        token_id=_text(values, "token_id", needed=False),
        server_url=_text(values, "server_url", needed=False),
        grpc_address=_text(values, "grpc_broadcast_address", needed=False),
        expires_at=expires_at,
    )


def _text(values: dict[str, Any], claim: str, *, needed: bool = True) -> str:
    value = values.get(claim, "")
    if not isinstance(value, str) or (needed and not value):
        raise InvalidInput("token", f"has no claim {claim!r}")
    return value
