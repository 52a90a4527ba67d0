"""What is in the store, read from outside: the contract's names and nothing of the worker's."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

HASHES: Final = (
    "items", "keys", "scopes", "holders", "stats", "waiting", "waiting:shares", "clones", "outbox",
)  # fmt: skip
SECRET_HASHES: Final = ("deks", "parked")
SORTED_SETS: Final = ("lineage", "waiting:deadlines", "waiting:sources", "keys:due", "tombstones")

Record = dict[str, Any]
Table = dict[str, Record]


@dataclass(frozen=True, slots=True)
class Contents:
    """One project's keys."""

    project: str
    items: Table
    keys: Table
    scopes: Table
    sealed: dict[str, dict[bytes, bytes]]
    """The same three as they are stored, by the key's name."""
    deks: dict[str, bytes]
    holders: dict[str, int]
    stats: dict[str, int]
    lineage: dict[str, float]
    """Each member's score."""
    waiting: Table
    shares: dict[str, dict[str, int]]
    parked: Table
    sizes: dict[str, int]
    """Of the parked records, in bytes."""
    deadlines: frozenset[str]
    sources: frozenset[str]
    clones: dict[str, int]
    unsaid: frozenset[str]
    """What is in the outbox: a key-id and the number of its change."""
    due: frozenset[str]
    tombstones: frozenset[str]


def read_contents(
    redis: Any, prefix: str, projects: Iterable[str] | None = None
) -> dict[str, Contents]:
    """Return what these projects have, in one round trip; without a choice, all that are listed."""
    if projects is None:
        projects = (name.decode() for name in redis.smembers(f"{prefix}:projects"))
    wanted = sorted(projects)
    pipeline = redis.pipeline(transaction=False)
    for project in wanted:
        for name in HASHES:
            pipeline.hgetall(f"{prefix}:{{{project}}}:{name}")
        for name in SECRET_HASHES:
            pipeline.hgetall(f"{prefix}secret:{{{project}}}:{name}")
        for name in SORTED_SETS:
            pipeline.zrange(f"{prefix}:{{{project}}}:{name}", 0, -1, withscores=True)
    replies = pipeline.execute()
    width = len(HASHES) + len(SECRET_HASHES) + len(SORTED_SETS)
    return {
        project: _contents(project, replies[at * width : (at + 1) * width])
        for at, project in enumerate(wanted)
    }


def _contents(project: str, replies: list[Any]) -> Contents:
    items, keys, scopes, holders, stats, waiting, shares, clones, outbox, *others = replies
    deks, parked, lineage, deadlines, sources, due, tombstones = others
    return Contents(
        project=project,
        items=_records(items),
        keys=_records(keys),
        scopes=_records(scopes),
        sealed={"items": items, "keys": keys, "scopes": scopes},
        deks={name.decode(): blob for name, blob in deks.items()},
        holders=_numbers(holders),
        stats=_numbers(stats),
        lineage={member.decode(): score for member, score in lineage},
        waiting=_records(waiting),
        shares=_records(shares),
        parked=_records(parked),
        sizes={name.decode(): len(record) for name, record in parked.items()},
        deadlines=_names(deadlines),
        sources=_names(sources),
        clones=_numbers(clones),
        unsaid=frozenset(name.decode() for name in outbox),
        due=_names(due),
        tombstones=_names(tombstones),
    )


def _records(table: dict[bytes, bytes]) -> Table:
    return {name.decode(): json.loads(record) for name, record in table.items()}


def _numbers(table: dict[bytes, bytes]) -> dict[str, int]:
    return {name.decode(): int(number) for name, number in table.items()}


def _names(members: Iterable[tuple[bytes, float]]) -> frozenset[str]:
    return frozenset(member.decode() for member, _score in members)
