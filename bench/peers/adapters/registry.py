PEERS = {
    "treadle": "treadle_peer:TreadlePeer",
    "procrastinate": "procrastinate_peer:Procrastinate",
    "pgqueuer": "pgqueuer_peer:Pgqueuer",
    "chancy": "chancy_peer:ChancyPeer",
    "dbos": "dbos_peer:Dbos",
    "dbos-poll0.1": "dbos_peer:DbosFast",
    "oban": "oban_peer:ObanPeer",
    "absurd": "absurd_peer:AbsurdPeer",
    "celery-rabbitmq": "celery_peer:CeleryRabbit",
    "celery-rabbitmq-noconfirm": "celery_peer:CeleryRabbitNoConfirm",
    "celery-rabbitmq-solo": "celery_peer:CeleryRabbitSolo",
    "celery-redis": "celery_peer:CeleryRedis",
    "taskiq-redis": "taskiq_peer:Taskiq",
    "temporal-dev": "temporal_peer:Temporal",
}


def load(name):
    import importlib

    mod, cls = PEERS[name].split(":")
    p = getattr(importlib.import_module(f"adapters.{mod}"), cls)()
    p.name = name
    return p
