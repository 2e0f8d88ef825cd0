import os
import sys

import servers

from adapters.base import Peer

COMMON = (
    "sync task (Celery has no async tasks), prefork -c 1 per worker process, acks_late, "
    "prefetch multiplier 128, events off, no result backend except S5; bulk = apply_async with one shared producer"
)


class CeleryRabbit(Peer):
    server = broker = "rabbitmq"
    confirm = "1"
    threads = True
    settings = COMMON + "; RabbitMQ 3.10 classic durable queue, persistent messages, confirm_publish=True"
    persists = "nothing: the message is deleted on ack (S5: result message on a non-durable rpc:// queue)"
    results = "0"
    pool = "prefork"

    def env(self):
        return {"BENCH_BROKER": self.broker, "BENCH_RESULTS": self.results, "BENCH_CONFIRM": self.confirm}

    worker_env = env

    def load(self):
        os.environ.update(self.env())
        os.environ.setdefault("BENCH_REC", os.devnull)
        sys.modules.pop("adapters.celery_app", None)
        import adapters.celery_app as m

        return m

    async def reset(self):
        await self.open()
        with self.m.app.connection() as c:
            q = self.m.app.amqp.queues["celery"](c.default_channel)
            q.declare()
            q.purge()
        await self.close()

    async def open(self, conns=1):
        self.m = self.load()

    async def close(self):
        import kombu.pools

        self.m.app.pool.force_close_all()
        kombu.pools.reset()

    def one_sync(self, i):
        return self.m.noop.apply_async((i,))

    async def one(self, i):
        return self.one_sync(i)

    async def bulk(self, n):
        with self.m.app.producer_or_acquire() as p:
            for i in range(n):
                self.m.noop.apply_async((i,), producer=p)

    async def roundtrip(self, i):
        assert self.one_sync(i).get(timeout=30)["i"] == i

    def worker_argv(self):
        return [
            sys.executable,
            "-m",
            "celery",
            "-A",
            "adapters.celery_app",
            "worker",
            "--loglevel=WARNING",
            f"--pool={self.pool}",
            "-c",
            "1",
            "-n",
            f"w{os.urandom(3).hex()}@localhost",
            "--without-gossip",
            "--without-mingle",
            "--without-heartbeat",
        ]


class CeleryRabbitNoConfirm(CeleryRabbit):
    confirm = "0"
    settings = (
        COMMON + "; as celery-rabbitmq but publisher confirms off (Celery's default: enqueue is not acknowledged)"
    )


class CeleryRabbitSolo(CeleryRabbit):
    pool = "solo"
    settings = CeleryRabbit.settings.replace("prefork -c 1", "--pool=solo")


class CeleryRedis(CeleryRabbit):
    server = broker = "redis"
    settings = COMMON + "; Redis 7.0, AOF everysec (up to 1 s of acknowledged work can be lost on a crash)"
    persists = "nothing: the message is deleted on ack (S5: result key in Redis, 1 day)"

    async def reset(self):
        import redis

        redis.Redis(port=servers.REDIS_PORT).flushall()
