"""Real servers for the tests, private to one run.

Each runs on a free port of the loopback interface with its data in a scratch folder, so
that runs neither see each other nor what else this machine serves. A server is never
mocked here and never skipped: where one is missing, the run fails and says what to install.

They have the accounts and settings of `config/`. There is no URL for everybody: a test asks a
server for that of the role which acts, `url_of("worker", prefix)`.
"""

from tests.kit.servers.accounts import ADMIN, NAMESPACE, PREFIX, At, Door, Through
from tests.kit.servers.broker import RabbitMQ
from tests.kit.servers.locate import MissingServerError
from tests.kit.servers.proxy import FAIR, Proxy, Weather
from tests.kit.servers.server import Server, ServerError, Start
from tests.kit.servers.store import StoreServer, embedded_store, redis_store, valkey_store

__all__ = [
    "ADMIN",
    "FAIR",
    "NAMESPACE",
    "PREFIX",
    "At",
    "Door",
    "MissingServerError",
    "Proxy",
    "RabbitMQ",
    "Server",
    "ServerError",
    "Start",
    "StoreServer",
    "Through",
    "Weather",
    "embedded_store",
    "redis_store",
    "valkey_store",
]
