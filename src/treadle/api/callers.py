"""Who is calling. Every route names one of these dependencies, except the few that are open on purpose."""

from typing import Annotated

from fastapi import Depends, Path, Request

from treadle.api.backend import ApiBackend, Principal
from treadle.model.errors import InvalidInput, PermissionDenied
from treadle.model.ids import canonical_id


def backend_of(request: Request) -> ApiBackend:
    backend: ApiBackend = request.app.state.backend
    return backend


Backend = Annotated[ApiBackend, Depends(backend_of)]


async def caller_of(request: Request, backend: Backend) -> Principal:
    """The caller behind the bearer token. A bad token is answered with 403: the SDKs know no 401."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise PermissionDenied("authorization", "a bearer token is needed")
    return await backend.authenticate(token.strip())


Caller = Annotated[Principal, Depends(caller_of)]


def read_id(text: str, field: str) -> str:
    found = canonical_id(text)
    if found is None:
        raise InvalidInput(field, "not a UUID")
    return found


def member_of(caller: Caller, tenant: Annotated[str, Path()]) -> Principal:
    """The caller, when the tenant in the path is its own."""
    if read_id(tenant, "tenant") != caller.tenant_id:
        raise PermissionDenied("tenant", "the token belongs to another tenant")
    return caller


Member = Annotated[Principal, Depends(member_of)]
