"""Events and those who wait for them, end to end: pushed at every moment, by our own contract, and by strangers."""

import asyncio
import random
import time

from tests.wire_edge.raw import RawClient
from tests.wire_edge.waits import FIRST, Waits, turns, waiting

RACES = 1000
LANES = 20
RACE_SECONDS = 20.0


# -- who is met ------------------------------------------------------------------------------------------------------


async def test_our_own_push_meets_too(raw: RawClient) -> None:
    async with waiting(raw, scope="mine") as waits:
        run_id = await waits.begin_to_wait()
        await raw.call("/treadle.v1.Events/Push", events=[{"key": waits.key, "payload": b'{"n": 1}', "scope": "other"}])
        assert await waits.still_waits(run_id)
        answer = await raw.call(
            "/treadle.v1.Events/Push",
            events=[
                {"key": waits.key, "payload": b"[]", "scope": "mine"},
                {"key": waits.key, "payload": b'{"n": 2}', "scope": "mine"},
            ],
        )
        assert [outcome.WhichOneof("outcome") for outcome in answer.outcomes] == ["problem", "event_id"]
        assert await waits.met_by(run_id) == {"n": 2}


async def test_a_strangers_event_meets_nobody_and_is_seen_by_nobody(raw: RawClient, stranger: RawClient) -> None:
    """Also not by those who look back."""
    async with waiting(raw) as waits, waiting(raw, look_back=True) as looks:
        waits_for_it = await waits.begin_to_wait()
        will_look = await looks.start()
        first = await looks.action(FIRST, will_look)
        for key in (waits.key, looks.key):
            await stranger.call("/EventsService/Push", key=key, payload='{"theirs": true}')
        await looks.complete(first)
        assert await waits.still_waits(waits_for_it)
        assert await looks.still_waits(will_look)
        for key in (waits.key, looks.key):
            await raw.call("/EventsService/Push", key=key, payload='{"theirs": false}')
        assert await waits.met_by(waits_for_it) == {"theirs": False}
        assert await looks.met_by(will_look) == {"theirs": False}


async def test_one_event_meets_all_who_wait(raw: RawClient) -> None:
    async with waiting(raw) as waits:
        runs = [await waits.begin_to_wait() for _ in range(3)]
        await raw.call("/EventsService/Push", key=waits.key, payload='{"for": "all"}')
        assert [await waits.met_by(run_id) for run_id in runs] == [{"for": "all"}] * 3


async def test_an_event_of_an_earlier_run_is_not_taken_for_ones_own(raw: RawClient) -> None:
    async with waiting(raw, look_back=True) as waits:
        await raw.call("/EventsService/Push", key=waits.key, payload='{"n": 1}')
        run_id = await waits.begin_to_wait()
        assert await waits.still_waits(run_id)
        await raw.call("/EventsService/Push", key=waits.key, payload='{"n": 2}')
        assert await waits.met_by(run_id) == {"n": 2}


# -- the race --------------------------------------------------------------------------------------------------------


async def race(raw: RawClient, waits: Waits, number: int, chance: random.Random) -> None:
    """The event is pushed while the task before the one that waits for it ends: before, in the same commit, or after."""
    run_id = await waits.start()
    first = await waits.action(FIRST, run_id)

    async def push() -> None:
        await turns(chance.randrange(40))
        await raw.call("/EventsService/Push", key=waits.key, payload=f'{{"n": {number}}}')

    async def end() -> None:
        await turns(chance.randrange(40))
        await waits.complete(first)

    await asyncio.gather(push(), end())
    assert await waits.met_by(run_id) == {"n": number}


async def test_an_event_at_the_very_moment_in_which_its_task_begins_to_wait_is_never_lost(raw: RawClient) -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    begun = time.monotonic()
    done = 0

    async def lane(first: int) -> None:
        nonlocal done
        async with waiting(raw, look_back=True) as waits:
            for number in range(first, RACES, LANES):
                if time.monotonic() - begun > RACE_SECONDS:
                    return
                await race(raw, waits, number, chance)
                done += 1

    try:
        await asyncio.gather(*(lane(first) for first in range(LANES)))
    except Exception as error:
        raise AssertionError(f"lost with seed {seed}, after {done} races") from error
    # A machine that is busy with other things may not come to the end, but far enough.
    assert done >= RACES / 10
