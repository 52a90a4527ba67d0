"""What counters and indexes say otherwise than the records that they count."""

from collections import Counter
from collections.abc import Iterator
from typing import Final

from tests.kit.checker.contents import Contents
from tests.kit.checker.states import DESTROYED, MANUAL, held_by, own_state, partitions_keys

DISPOSITIONS: Final = ("create", "clone", "reuse", "none")


def index_problems(contents: Contents) -> Iterator[str]:
    """What counters and indexes say otherwise than the records that they count."""
    data = [record["data"] for record in contents.items.values() if record["data"]]
    made = Counter(it["disposition"] for it in data)
    stats = contents.stats
    counted = {it: stats.get(it, 0) - stats.get(f"{it}_forgotten", 0) for it in DISPOSITIONS}
    if counted != {name: made[name] for name in DISPOSITIONS}:
        yield f"stats {counted}, items {dict(made)}"
    if stats.get("early", 0) != len(contents.items) - len(data):
        yield f"early {stats.get('early')}, not {len(contents.items) - len(data)}"
    wraps = sum(number for name, number in stats.items() if name.startswith("wraps:"))
    if wraps < stats.get("create", 0):
        yield f"wraps {wraps}, created {stats.get('create')}"
    lineage = {f"{it['scope_id']} {_ref(it)}": 0 for it in data if it["scope_id"]}
    if contents.lineage != lineage:
        yield f"lineage {dict(contents.lineage.items() ^ lineage.items())}"
    yield from _key_counts(contents)
    yield from _waiting_room(contents)


def _ref(data: dict[str, dict[str, str]]) -> str:
    return f"{data['item']['kind']}:{data['item']['id']}"


def _key_counts(contents: Contents) -> Iterator[str]:
    holders = held_by(contents.items)
    if {it: number for it, number in contents.holders.items() if number} != holders:
        yield f"holders {contents.holders}, items {dict(holders)}"
    alive = {
        key_id: key
        for key_id, key in contents.keys.items()
        if "scope_id" in key and own_state(key) != DESTROYED
    }
    beside = Counter(key["scope_id"] for key in alive.values())
    clones = {scope_id: number - 1 for scope_id, number in beside.items() if number > 1}
    if {it: number for it, number in contents.clones.items() if number} != clones:
        yield f"clones {contents.clones}, keys {clones}"
    timed = {
        key_id
        for key_id, key in alive.items()
        if key.get("destroy_at", MANUAL) != MANUAL or "active_until" in key
    }
    if lost := timed - partitions_keys(contents.items) - contents.due:
        yield f"keys:due lacks {sorted(lost)}"
    gone = {
        ref
        for ref, it in contents.items.items()
        if it["state"] == "released" and not (it["data"] and it["data"]["scope_id"])
    }
    if lost := gone - contents.tombstones:
        yield f"tombstones lacks {sorted(lost)}"


def _waiting_room(contents: Contents) -> Iterator[str]:
    sources = {f"{record['source']} {entry}" for entry, record in contents.parked.items()}
    parked = contents.parked.keys()
    if not (parked == contents.waiting.keys() == contents.deadlines):
        yield "the waiting room's indexes"
    if sources != contents.sources:
        yield "the sources that are waited for"
    shares: dict[str, dict[str, int]] = {}
    for entry, record in contents.parked.items():
        share = shares.setdefault(record["project"], {"events": 0, "bytes": 0})
        share["events"] += 1
        share["bytes"] += contents.sizes[entry]
    if contents.shares != shares:
        yield f"shares {contents.shares}, parked {shares}"
    if contents.stats.get("waiting", 0) != len(parked):
        yield f"waiting {contents.stats.get('waiting')}, not {len(parked)}"
