"""An engine that nobody asks for anything looks after its database all the same."""

from pathlib import Path

import asyncpg

from tests.chaos.cluster import Cluster
from tests.support.eventually import eventually


async def test_an_idle_engine_brings_its_database_back(tmp_path: Path) -> None:
    async with Cluster(tmp_path, workers=0) as cluster:
        await cluster.kill_postgres()

        async def it_answers() -> int:
            try:
                connection = await asyncpg.connect(cluster.engine.database_url)
            except (OSError, asyncpg.PostgresError) as problem:
                raise AssertionError(problem) from problem
            try:
                tenants: int = await connection.fetchval("SELECT count(*) FROM treadle.tenant")
                return tenants
            finally:
                await connection.close()

        assert await eventually(it_answers, timeout=30) > 0
