import asyncio
import os
import sys

import servers
from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

from adapters.base import Peer

MAX_ASYNC = int(os.environ.get("TASKIQ_ASYNC", "100"))
broker = RedisStreamBroker(servers.REDIS_URL).with_result_backend(
    RedisAsyncResultBackend(servers.REDIS_URL, result_ex_time=3600)
)


@broker.task(task_name="noop")
async def noop(i: int):
    import rec

    rec.started(i)
    return {"i": i}


class Taskiq(Peer):
    server = "redis"
    settings = (
        f"RedisStreamBroker (acknowledged), RedisAsyncResultBackend, --workers 1 --max-async-tasks {MAX_ASYNC}, "
        "ack when executed (default); Redis 7.0, AOF everysec; no bulk API: 100 concurrent kiq()"
    )
    persists = "result key in Redis for 1 h; the stream entry is acknowledged but kept (up to 1 s lost on a crash)"

    async def reset(self):
        import redis

        redis.Redis(port=servers.REDIS_PORT).flushall()

    async def open(self, conns=1):
        await broker.startup()

    async def close(self):
        await broker.shutdown()

    async def one(self, i):
        return await noop.kiq(i)

    async def bulk(self, n):
        async def lane(k):
            for i in range(k, n, 100):
                await noop.kiq(i)

        await asyncio.gather(*(lane(k) for k in range(100)))

    async def done(self):
        import redis

        r = redis.Redis(port=servers.REDIS_PORT)
        return r.dbsize() - 1  # every result key; the stream itself is one key

    async def roundtrip(self, i):
        t = await noop.kiq(i)
        assert (await t.wait_result(check_interval=0.2)).return_value["i"] == i  # 0.2 s is the default

    def worker_argv(self):
        return [
            sys.executable,
            "-m",
            "taskiq",
            "worker",
            "adapters.taskiq_peer:broker",
            "--workers",
            "1",
            "--max-async-tasks",
            str(MAX_ASYNC),
            "--log-level",
            "WARNING",
        ]
