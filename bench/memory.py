"""What a store takes for an item, and for which of its keys."""

from dataclasses import dataclass
from typing import Any

from bench.events import project_id
from bench.servers import Servers
from bench.throughput import PROJECTS
from kmworker.store.names import Names

SAMPLED = 1_000
KEYS = ("items", "keys", "scopes", "deks", "lineage", "holders", "stats")


@dataclass(frozen=True)
class Memory:
    """What a store takes, in bytes for each item."""

    server: str
    """Its name and version."""
    items: int
    in_all: float
    """By its own count (used_memory), less that of the empty server."""
    by_key: dict[str, float]
    """By MEMORY USAGE over every element."""
    text: float
    """Names, fields and values by themselves: what the contract says stands there."""
    log: float
    """What it takes in the append-only file, before that is rewritten."""


def memory_of(servers: Servers, items: int, in_all: float, log: float) -> Memory:
    """Look at a store of `bench.events.collections`."""
    found: dict[str, Any] = servers.client().info("server")
    valkey = found.get("valkey_version")
    server = f"Valkey {valkey}" if valkey else f"Redis {found['redis_version']}"
    return Memory(server, items, in_all, _by_key(servers, items), _text(servers, items), log)


def used(servers: Servers) -> int:
    """Return the bytes that the store has in use, by its own count."""
    return int(servers.client().info("memory")["used_memory"])


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


def _text(servers: Servers, items: int) -> float:
    """Return how long the first thousand or so elements of a project are, for all of them."""
    client: Any = servers.client(decode=False)
    names = _names(servers)
    total = 0.0
    for key in KEYS:
        name = names.of(project_id(0), key)
        if key == "lineage":
            _cursor, members = client.zscan(name, count=SAMPLED)
            lengths, number = [len(member) for member, _score in members], client.zcard(name)
        else:
            _cursor, fields = client.hscan(name, count=SAMPLED)
            lengths = [len(field) + len(value) for field, value in fields.items()]
            number = client.hlen(name)
        total += number * sum(lengths) / max(len(lengths), 1)
    return total * PROJECTS / items


def _names(servers: Servers) -> Names:
    return Names(servers.settings("bench").store.prefix)
