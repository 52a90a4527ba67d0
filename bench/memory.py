"""What Redis takes for an item, and for which of its keys."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace

from bench.events import project_id
from bench.servers import STORE_OPTIONS, Servers
from bench.throughput import PROJECTS
from kmworker.store.names import Names
from tests.kit.servers import valkey_store

KEYS = ("items", "keys", "scopes", "deks", "lineage", "holders", "stats")


@dataclass(frozen=True)
class Memory:
    """What Redis takes, in bytes for each item."""

    items: int
    in_all: float
    """By its own count (used_memory), less that of the empty server."""
    by_key: dict[str, float]
    """By MEMORY USAGE over every element."""
    log: float
    """What it takes in the append-only file, before that is rewritten."""


@dataclass(frozen=True)
class InValkey:
    """What Valkey takes for the same items."""

    version: str
    items: int
    in_all: float
    """Bytes for each, by its own count."""


def memory_of(servers: Servers, items: int, in_all: float, log: float) -> Memory:
    """Look at a store of `bench.events.collections`."""
    return Memory(items, in_all, _by_key(servers, items), log)


def used(servers: Servers) -> int:
    """Return the bytes that the store has in use, by its own count."""
    return int(servers.client().info("memory")["used_memory"])


@contextmanager
def on_valkey(servers: Servers) -> Iterator[Servers]:
    """Give the same servers with a Valkey in place of Redis."""
    folder = servers.folder / "valkey"
    folder.mkdir()
    with closing(valkey_store(folder, STORE_OPTIONS)) as valkey:
        valkey.start()
        yield replace(servers, store=valkey)


def _by_key(servers: Servers, items: int) -> dict[str, float]:
    client, names = servers.client(), _names(servers)
    return {
        key: sum(
            client.memory_usage(names.of(project_id(project), key), samples=0) or 0
            for project in range(PROJECTS)
        )
        / items
        for key in KEYS
    }


def _names(servers: Servers) -> Names:
    return Names(servers.settings("bench").store.prefix)
