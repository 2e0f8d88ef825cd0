import base64
import json
from datetime import UTC, datetime, timedelta

import jwt
import pytest

from treadle.model.errors import InvalidInput, PermissionDenied
from treadle.model.ids import new_id
from treadle.wire.claims import Claims, read_claims
from treadle.wire.tokens import issue_token, verify_token

SECRET = "a secret of at least thirty-two bytes"
NOW = datetime(2026, 5, 6, 7, 8, 9, tzinfo=UTC)
CLAIMS = Claims(
    tenant_id=new_id(),
    token_id=new_id(),
    server_url="http://127.0.0.1:8080",
    grpc_address="127.0.0.1:7077",
    expires_at=NOW + timedelta(days=90),
)


def issue(secret: str = SECRET) -> str:
    return issue_token(
        secret,
        tenant_id=CLAIMS.tenant_id,
        token_id=CLAIMS.token_id,
        server_url=CLAIMS.server_url,
        grpc_address=CLAIMS.grpc_address,
        issued_at=NOW,
        expires_at=NOW + timedelta(days=90),
    )


def forge(claims: dict[str, object], algorithm: str = "HS256", key: str | None = SECRET) -> str:
    return jwt.encode(claims, key, algorithm=algorithm)


def raw(claims: object) -> str:
    middle = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"eyJhbGciOiJIUzI1NiJ9.{middle}.x"


def test_an_issued_token_says_what_was_put_in() -> None:
    token = issue()
    assert verify_token(SECRET, token, now=NOW) == CLAIMS
    assert read_claims(token) == CLAIMS


def test_a_token_has_the_shape_and_claims_that_the_official_sdks_read() -> None:
    token = issue()
    assert token.startswith("ey")
    header, middle, signature = token.split(".")
    assert header
    assert signature
    claims = json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))
    assert claims["sub"] == CLAIMS.tenant_id
    assert claims["server_url"] == CLAIMS.server_url
    assert claims["grpc_broadcast_address"] == CLAIMS.grpc_address
    assert claims["token_id"] == CLAIMS.token_id
    assert claims["exp"] - claims["iat"] == 90 * 86_400


@pytest.mark.parametrize(
    ("token", "message"),
    [
        ("", "not valid"),
        ("garbage", "not valid"),
        ("a.b.c", "not valid"),
        (issue("another secret of at least 32 bytes"), "wrong signature"),
        (issue()[:-3] + "AAA", "wrong signature|not valid"),
        (issue() + "\u00e9", "not valid"),
        (forge({"sub": CLAIMS.tenant_id, "exp": 10**10}, "none", None), "not valid"),
        (forge({"sub": CLAIMS.tenant_id, "exp": 10**10}, "HS512", SECRET * 2), "not valid"),
        (forge({"sub": CLAIMS.tenant_id, "token_id": CLAIMS.token_id}), "no time limit"),
        (forge({"sub": 5, "exp": 10**10}), "not valid|'sub'"),
        (forge({"exp": 10**10}), "'sub'"),
        (forge({"sub": "x", "token_id": CLAIMS.token_id, "exp": 10**10}), "no id"),
        (forge({"sub": CLAIMS.tenant_id, "exp": 10**10}), "no id"),
        (forge({"sub": CLAIMS.tenant_id, "exp": "soon"}), "'exp'|not valid"),
        (forge({"sub": CLAIMS.tenant_id, "exp": 10**30}), "'exp'"),
    ],
)
def test_anything_else_is_turned_away(token: str, message: str) -> None:
    with pytest.raises(PermissionDenied, match=message) as caught:
        verify_token(SECRET, token, now=NOW)
    assert caught.value.field == "token"


def test_a_token_ends() -> None:
    token = issue()
    assert verify_token(SECRET, token, now=NOW + timedelta(days=90, seconds=-1)) == CLAIMS
    with pytest.raises(PermissionDenied, match="expired at 2026-08-04"):
        verify_token(SECRET, token, now=NOW + timedelta(days=90))


@pytest.mark.parametrize("token", ["", "x", "a.b", "a.!!.c", "a.YQ.c", raw([]), raw({}), raw({"sub": ""})])
def test_a_client_is_told_what_is_wrong_with_a_text_that_is_no_token(token: str) -> None:
    with pytest.raises(InvalidInput, match=r"^token: "):
        read_claims(token)
