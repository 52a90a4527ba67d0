"""What is in the store, read from outside: the contract's names and nothing of the worker's."""

import json
from dataclasses import dataclass
from typing import Any, Final

HASHES: Final = ("items", "keys", "scopes", "holders", "stats", "waiting", "waiting:shares")
SECRET_HASHES: Final = ("deks", "parked")
SORTED_SETS: Final = ("lineage", "waiting:deadlines", "waiting:sources")


@dataclass(frozen=True, slots=True)
class Contents:
    """One project's keys."""

    project: str
    items: dict[str, dict[str, Any]]
    keys: dict[str, dict[str, Any]]
    scopes: dict[str, dict[str, Any]]
    deks: dict[str, bytes]
    holders: dict[str, int]
    stats: dict[str, int]
    lineage: frozenset[str]
    waiting: frozenset[str]
    shares: dict[str, dict[str, int]]
    parked: dict[str, dict[str, Any]]
    sizes: dict[str, int]
    """Of the parked records, in bytes."""
    deadlines: frozenset[str]
    sources: frozenset[str]


def read_contents(redis: Any, prefix: str) -> list[Contents]:
    """Return what every project has, in one round trip."""
    projects = sorted(name.decode() for name in redis.smembers(f"{prefix}:projects"))
    pipeline = redis.pipeline(transaction=False)
    for project in projects:
        for name in HASHES:
            pipeline.hgetall(f"{prefix}:{{{project}}}:{name}")
        for name in SECRET_HASHES:
            pipeline.hgetall(f"{prefix}secret:{{{project}}}:{name}")
        for name in SORTED_SETS:
            pipeline.zrange(f"{prefix}:{{{project}}}:{name}", 0, -1)
    replies = pipeline.execute()
    width = len(HASHES) + len(SECRET_HASHES) + len(SORTED_SETS)
    return [
        _contents(project, replies[at * width : (at + 1) * width])
        for at, project in enumerate(projects)
    ]


def _contents(project: str, replies: list[Any]) -> Contents:
    items, keys, scopes, holders, stats, waiting, shares, *others = replies
    deks, parked, lineage, deadlines, sources = others
    return Contents(
        project=project,
        items=_records(items),
        keys=_records(keys),
        scopes=_records(scopes),
        deks={name.decode(): blob for name, blob in deks.items()},
        holders=_numbers(holders),
        stats=_numbers(stats),
        lineage=_names(lineage),
        waiting=_names(waiting),
        shares=_records(shares),
        parked=_records(parked),
        sizes={name.decode(): len(record) for name, record in parked.items()},
        deadlines=_names(deadlines),
        sources=_names(sources),
    )


def _records(table: dict[bytes, bytes]) -> dict[str, dict[str, Any]]:
    return {name.decode(): json.loads(record) for name, record in table.items()}


def _numbers(table: dict[bytes, bytes]) -> dict[str, int]:
    return {name.decode(): int(number) for name, number in table.items()}


def _names(members: Any) -> frozenset[str]:
    return frozenset(member.decode() for member in members)
