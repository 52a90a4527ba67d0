"""The private servers of a measurement, as they would be configured in production.

Workers, producers and subscribers have the shipped accounts. A peer has a worker's, and besides
the rights that its framework wants: to declare what it likes, and to load scripts.
"""

import secrets
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis

from bench.processes import pids_below
from kmworker.crypto import Keyring
from kmworker.settings import BrokerSettings, KeyringSettings, Settings, StoreSettings
from tests.kit.servers import ADMIN, PREFIX, RabbitMQ, StoreServer, redis_store
from tests.kit.servers.accounts import store_users

PEER = "peer"
# The write-ahead log's own default; the tests have a small one.
BROKER_OPTIONS = {"raft.wal_max_size_bytes": "536870912", "log.console.level": "warning"}
# A rewrite of the log in the middle of one contestant's turn would be charged to it alone.
STORE_OPTIONS = {"auto-aof-rewrite-percentage": "0"}


@dataclass(frozen=True)
class Servers:
    """A broker, a store, a keyring, and room for files."""

    folder: Path
    broker: RabbitMQ
    store: StoreServer

    def settings(
        self, namespace: str, *, broker: str = "worker", store: str = "worker"
    ) -> Settings:
        """Return the settings of an installation on these servers, for these accounts."""
        return Settings(
            broker=BrokerSettings(url=self.broker.url_of(broker, namespace), namespace=namespace),
            store=StoreSettings(url=self.store.url_of(store)),
            keyring=KeyringSettings(path=self.folder / "keyring.json"),
        )

    def environment(
        self, namespace: str, *, broker: str = "worker", store: str = "worker"
    ) -> dict[str, str]:
        """Return the same as variables for a process."""
        return self._variables(
            namespace, self.broker.url_of(broker, namespace), self.store.url_of(store)
        )

    def peers_environment(self, namespace: str) -> dict[str, str]:
        """Return the same for a peer, whose accounts are made here."""
        vhost, password = namespace, secrets.token_hex(16)
        self.broker.import_definitions({
            "users": [{"name": PEER, "password": password, "tags": []}],
            "permissions": [
                {"user": PEER, "vhost": vhost, "configure": ".*", "write": ".*", "read": ".*"}
            ],
        })  # fmt: skip
        self._make_peer_of_worker(password)
        login = f"{PEER}:{password}@127.0.0.1"
        return self._variables(
            namespace,
            f"amqp://{login}:{self.broker.port}/{vhost}",
            f"redis://{login}:{self.store.port}/0",
        )

    def client(self, *, decode: bool = True) -> "redis.Redis":
        """Return the administrator's client of the store; its replies are text, or bytes."""
        return redis.Redis.from_url(
            self.store.url_of(ADMIN), decode_responses=decode, socket_timeout=600
        )

    def _variables(self, namespace: str, broker_url: str, store_url: str) -> dict[str, str]:
        return {
            "KMWORKER_BROKER__URL": broker_url,
            "KMWORKER_BROKER__NAMESPACE": namespace,
            "KMWORKER_STORE__URL": store_url,
            "KMWORKER_KEYRING__PATH": str(self.folder / "keyring.json"),
        }

    def _make_peer_of_worker(self, password: str) -> None:
        (line,) = (line for line in store_users(PREFIX) if line.startswith("user worker "))
        words = line.split()[2:]
        with self.client() as client:
            more = ["+script|load", "resetpass", f">{password}"]
            client.execute_command("ACL", "SETUSER", PEER, "reset", *words, *more)

    def pids(self) -> dict[str, set[int]]:
        """Return the processes of each server."""
        return {
            "rabbitmq": pids_below(self.broker.pid),
            "redis": pids_below(self.store.pid),
        }


@contextmanager
def private_servers(
    broker_options: Mapping[str, str] | None = None,
    make_keyring: Callable[[Path], object] = Keyring.generate,
) -> Iterator[Servers]:
    """Start a broker and a store of our own; both and their data go in the end."""
    with tempfile.TemporaryDirectory(prefix="kmworker-bench-") as scratch, ExitStack() as stack:
        folder = Path(scratch)
        for name in ("rabbit", "store"):
            (folder / name).mkdir()
        options = BROKER_OPTIONS | dict(broker_options or {})
        broker = stack.enter_context(closing(RabbitMQ(folder / "rabbit", options)))
        store = stack.enter_context(closing(redis_store(folder / "store", STORE_OPTIONS)))
        broker.start()
        store.start()
        make_keyring(folder / "keyring.json")
        yield Servers(folder, broker, store)
