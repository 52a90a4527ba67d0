"""What Redis takes for an item, and of what: the records' text, its own structures, the rest."""

import math
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from bench.events import project_id
from bench.servers import STORE_OPTIONS, Servers
from bench.tables import table
from bench.throughput import PROJECTS
from kmworker.store.names import Names
from tests.servers import valkey_store

__all__ = ["InValkey", "Memory", "Part", "memory_of", "on_valkey", "part_lines", "used"]

HASHES = ("items", "keys", "scopes", "deks", "holders")
INDEX = "lineage"
KEYS = ("items", "keys", "scopes", "deks", INDEX, "holders", "stats")

# Bytes that Redis 7.0 asks its allocator for, on 64-bit machines.
ENTRY = 24
SLOT = 8
# Each node has 1 / (1 - 1/4) levels, on average.
SKIP_NODE = 24 + 16 * 4 / 3


@dataclass(frozen=True)
class Part:
    """What one key has of an item, in bytes."""

    text: float
    """Fields and values, or members: what the contract demands to be there."""
    structures: float
    """Redis' own, if its allocator rounded nothing up."""


@dataclass(frozen=True)
class Memory:
    """What Redis takes, in bytes for each item."""

    items: int
    in_all: float
    """By its own count (used_memory), less that of the empty server."""
    by_key: dict[str, float]
    """By MEMORY USAGE over every element."""
    parts: dict[str, Part]
    """By key, counted over one project."""
    log: float
    """What it takes in the append-only file, before that is rewritten."""

    @property
    def text(self) -> float:
        """What no store could do without."""
        return sum(part.text for part in self.parts.values())

    @property
    def structures(self) -> float:
        """What Redis adds to it."""
        return sum(part.structures for part in self.parts.values())


@dataclass(frozen=True)
class InValkey:
    """What Valkey takes for the same items."""

    version: str
    items: int
    in_all: float
    """Bytes for each, by its own count."""


def memory_of(servers: Servers, items: int, in_all: float, log: float) -> Memory:
    """Look at a store of `bench.events.collections`."""
    return Memory(items, in_all, _by_key(servers, items), _parts(servers), log)


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


def part_lines(memory: Memory) -> list[str]:
    """Return the table of what an item's bytes are."""
    rows = [
        [f"`{key}`", f"{part.text:,.0f}", f"{part.structures:,.0f}"]
        for key, part in memory.parts.items()
    ]
    rows.append(["together", f"{memory.text:,.0f}", f"{memory.structures:,.0f}"])
    return table(["", "text", "Redis' structures"], rows)


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


def _parts(servers: Servers) -> dict[str, Part]:
    # Any: wrapped DEKs are no text, and the client library leaves its scans untyped.
    client: Any = servers.client(decode=False)
    names, project = _names(servers), project_id(0)
    items = client.hlen(names.of(project, "items"))
    parts = {}
    for key in HASHES:
        pairs = client.hscan_iter(names.of(project, key), count=1_000)
        parts[key] = part_of([len(text) for pair in pairs for text in pair], 2, items)
    members = client.zscan_iter(names.of(project, INDEX), count=1_000)
    index = part_of([len(member) for member, _score in members], 1, items)
    nodes = client.zcard(names.of(project, INDEX)) * SKIP_NODE / items
    parts[INDEX] = replace(index, structures=index.structures + nodes)
    return parts


def part_of(lengths: list[int], in_entry: int, items: int) -> Part:
    """Return what a hash table of strings takes for each item.

    Args:
        lengths: of all strings.
        in_entry: strings in one entry.
        items: among how many it is shared out.
    """
    entries = len(lengths) // in_entry
    slots = 2 ** math.ceil(math.log2(entries)) if entries else 0
    strings = sum(_around(length) for length in lengths)
    return Part(sum(lengths) / items, (entries * ENTRY + slots * SLOT + strings) / items)


def _around(length: int) -> int:
    """Return the bytes of a string's header and end."""
    header = 1 if length < 2**5 else 3 if length < 2**8 else 5
    return header + 1


def _names(servers: Servers) -> Names:
    return Names(servers.settings("bench").store.prefix)
