"""Celery app shared by both brokers (BENCH_BROKER=rabbitmq|redis, BENCH_CONFIRM=0|1)."""

import os

import servers
from celery import Celery

RABBIT = os.environ.get("BENCH_BROKER", "rabbitmq") == "rabbitmq"
RESULTS = os.environ.get("BENCH_RESULTS") == "1"
app = Celery(
    "bench",
    broker=servers.AMQP_URL if RABBIT else servers.REDIS_URL,
    backend=("rpc://" if RABBIT else servers.REDIS_URL) if RESULTS else None,
)
app.conf.update(
    task_acks_late=True,
    worker_prefetch_multiplier=128,
    task_ignore_result=not RESULTS,
    broker_connection_retry_on_startup=True,
    worker_send_task_events=False,
    broker_pool_limit=33,
    broker_transport_options={"confirm_publish": os.environ.get("BENCH_CONFIRM", "1") == "1"} if RABBIT else {},
)


@app.task(name="noop")
def noop(i):
    import rec

    rec.started(i)
    return {"i": i}
