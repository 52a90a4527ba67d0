"""Real servers for the tests, private to one run.

Each runs on a free port of the loopback interface with its data in a scratch folder, so
that runs neither see each other nor what else this machine serves. A server is never
mocked here and never skipped: where one is missing, the run fails and says what to install.
"""

from tests.servers.broker import RabbitMQ
from tests.servers.foreign import ForeignRabbitMQ, ForeignStore
from tests.servers.locate import MissingServerError
from tests.servers.proxy import FAIR, Proxy, Weather
from tests.servers.server import Server, ServerError, Start
from tests.servers.store import StoreServer, redis_store, valkey_store

__all__ = [
    "FAIR",
    "ForeignRabbitMQ",
    "ForeignStore",
    "MissingServerError",
    "Proxy",
    "RabbitMQ",
    "Server",
    "ServerError",
    "Start",
    "StoreServer",
    "Weather",
    "redis_store",
    "valkey_store",
]
