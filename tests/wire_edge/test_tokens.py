"""Who may call: a token that is missing or wrong in any way opens nothing."""

import base64
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta

import grpc
import pytest

from tests.wire_edge.raw import RawClient, refusal
from tests.wire_edge.stored import rows_stored
from tests.wire_edge.tenants import Tenant, own_tenant, token_for
from treadle.model.ids import new_id
from treadle.testing.engine import EngineProcess

Maker = Callable[[EngineProcess], Awaitable[str | None]]


def _part(values: dict[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(values).encode()).rstrip(b"=").decode()


async def missing(_: EngineProcess) -> str | None:
    return None


async def empty(_: EngineProcess) -> str:
    return ""


async def garbage(_: EngineProcess) -> str:
    return "eyJhbGciOi.garbage"


async def wrong_signature(engine: EngineProcess) -> str:
    return await token_for(engine, await own_tenant(engine), secret=b"another secret of 32 bytes or so")


async def signature_cut_off(engine: EngineProcess) -> str:
    return engine.token.rpartition(".")[0] + "."


async def claims_changed(engine: EngineProcess) -> str:
    head, _, signature = engine.token.split(".")
    other = (await token_for(engine, Tenant(1, new_id()), listed=False)).split(".")[1]
    return f"{head}.{other}.{signature}"


async def no_algorithm(engine: EngineProcess) -> str:
    return f"{_part({'alg': 'none', 'typ': 'JWT'})}.{engine.token.split('.')[1]}."


async def no_algorithm_with_signature(engine: EngineProcess) -> str:
    _, claims, signature = engine.token.split(".")
    return f"{_part({'alg': 'none', 'typ': 'JWT'})}.{claims}.{signature}"


async def expired(engine: EngineProcess) -> str:
    return await token_for(engine, await own_tenant(engine), lifetime=timedelta(seconds=-5))


async def revoked(engine: EngineProcess) -> str:
    return await token_for(engine, await own_tenant(engine), revoked=True)


async def not_listed(engine: EngineProcess) -> str:
    """Well signed, but no token that the engine knows of: as after a restore of an older database."""
    return await token_for(engine, await own_tenant(engine), listed=False)


async def of_no_tenant(engine: EngineProcess) -> str:
    own = await own_tenant(engine)
    return await token_for(engine, Tenant(own.number, new_id()))


BAD_TOKENS: dict[str, Maker] = {
    maker.__name__: maker
    for maker in (
        missing,
        empty,
        garbage,
        wrong_signature,
        signature_cut_off,
        claims_changed,
        no_algorithm,
        no_algorithm_with_signature,
        expired,
        revoked,
        not_listed,
        of_no_tenant,
    )
}


@pytest.mark.parametrize("maker", BAD_TOKENS.values(), ids=BAD_TOKENS)
async def test_a_bad_token_opens_nothing(engine: EngineProcess, task_name: str, maker: Maker) -> None:
    token = await maker(engine)
    before = await rows_stored(engine)

    async with RawClient(engine.grpc_address, token) as client:
        for path, fields in (
            ("/WorkflowService/TriggerWorkflow", {"name": task_name, "input": "{}"}),
            ("/v1.AdminService/PutWorkflow", {"name": "refused"}),
            ("/Dispatcher/Register", {"worker_name": "refused", "actions": ["a:b"]}),
            ("/Dispatcher/ListenV2", {"worker_id": new_id()}),
            ("/Dispatcher/SubscribeToWorkflowRuns", {"workflow_run_id": new_id()}),
            ("/treadle.v1.Worker/Session", {"hello": {"name": "refused"}}),
            ("/treadle.v1.Runs/Start", {}),
            ("/EventsService/Push", {"key": "refused"}),
        ):
            refused = await refusal(client.first_answer(path, client.new(path, **fields)))
            assert refused.code is grpc.StatusCode.UNAUTHENTICATED, path
            assert "token" in refused.details, path

    assert await rows_stored(engine) == before


async def test_another_good_token_of_the_tenant_is_accepted(engine: EngineProcess, task_name: str) -> None:
    token = await token_for(engine, await own_tenant(engine))

    async with RawClient(engine.grpc_address, token) as client:
        await client.trigger(task_name)


@pytest.mark.parametrize("scheme", ["bearer", "Bearer", "BEARER"])
async def test_the_scheme_is_compared_without_case(engine: EngineProcess, task_name: str, scheme: str) -> None:
    async with RawClient(engine.grpc_address, engine.token, scheme=scheme) as client:
        await client.trigger(task_name)


async def test_a_token_says_where_its_engine_is(engine: EngineProcess, tenant: str) -> None:
    """What the official SDKs read from it."""
    part = engine.token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))

    assert engine.token.startswith("ey")
    assert claims["sub"] == tenant
    assert claims["server_url"] == engine.http_url
    assert claims["grpc_broadcast_address"] == engine.grpc_address
