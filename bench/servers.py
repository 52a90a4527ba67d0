"""The private servers of a measurement, as they would be configured in production."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis

from bench.processes import pids_below
from kmworker.crypto import Keyring
from kmworker.settings import BrokerSettings, KeyringSettings, Settings, StoreSettings
from tests.servers import RabbitMQ, StoreServer, redis_store

__all__ = ["STORE_OPTIONS", "Servers", "private_servers"]

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

    def settings(self, namespace: str) -> Settings:
        """Return the settings of an installation on these servers."""
        return Settings(
            broker=BrokerSettings(url=self.broker.url, namespace=namespace),
            store=StoreSettings(url=self.store.url),
            keyring=KeyringSettings(path=self.folder / "keyring.json"),
        )

    def environment(self, namespace: str) -> dict[str, str]:
        """Return the same as variables for a process."""
        return {
            "KMWORKER_BROKER__URL": self.broker.url,
            "KMWORKER_BROKER__NAMESPACE": namespace,
            "KMWORKER_STORE__URL": self.store.url,
            "KMWORKER_KEYRING__PATH": str(self.folder / "keyring.json"),
        }

    def client(self, *, decode: bool = True) -> "redis.Redis":
        """Return a client of the store; its replies are text, or bytes."""
        return redis.Redis(port=self.store.port, decode_responses=decode, socket_timeout=600)

    def pids(self) -> dict[str, set[int]]:
        """Return the processes of each server."""
        return {
            "rabbitmq": pids_below(self.broker.pid),
            "redis": pids_below(self.store.pid),
        }


@contextmanager
def private_servers() -> Iterator[Servers]:
    """Start a broker and a store of our own; both and their data go in the end."""
    with tempfile.TemporaryDirectory(prefix="kmworker-bench-") as scratch, ExitStack() as stack:
        folder = Path(scratch)
        for name in ("rabbit", "store"):
            (folder / name).mkdir()
        broker = stack.enter_context(closing(RabbitMQ(folder / "rabbit", BROKER_OPTIONS)))
        store = stack.enter_context(closing(redis_store(folder / "store", STORE_OPTIONS)))
        broker.start()
        store.start()
        Keyring.generate(folder / "keyring.json")
        yield Servers(folder, broker, store)
