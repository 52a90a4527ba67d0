"""What can be damaged of keys' lives, and what exactly is to be found then.

All in the project of `tests.kit.store.filling.live`, in which much was released and forgotten.
"""

import json
from collections.abc import Callable
from typing import Any

from kmworker.clock import rfc3339, unix_s
from tests.contract.verify.damages import Damage, Found, Scene, all_of, at
from tests.kit.store.filling import LIVES, Brief

HELD, SHARED, LEFT, BACK = "volume:held", "snapshot:shared", "volume:left", "volume:back"
HALTED, LEAKED, LEAKED_COPY = "volume:halted", "volume:leaked", "volume:leaked-copy"
ENDED, ENDED_COPY, PARTLY = "volume:ended", "volume:ended-copy", "volume:partly"
PLAIN, UNKNOWN, ANEW, BUD = "volume:plain", "volume:unknown", "volume:anew", "snapshot:bud"
MADE_UP = "00000000-0000-4000-8000-000000000000"


def here(problem: str, key: str, field: str | Callable[[Scene], str]) -> Found:
    """Return one finding."""
    return at(problem, key, field, LIVES)


def key_id(ref: str) -> Callable[[Scene], str]:
    return lambda it: it.key_id(ref, LIVES)


def scope_id(ref: str) -> Callable[[Scene], str]:
    return lambda it: it.scope_id(ref, LIVES)


def open_(it: Scene, key: str) -> str:
    return it.open(key, LIVES)


def rekey(it: Scene, ref: str, **changes: Any) -> None:
    """Let an item's key-id say something else."""
    it.reseal("keys", it.key_id(ref, LIVES), LIVES, **changes)


def undue(it: Scene, ref: str) -> None:
    """Take an item's key-id out of what is due."""
    assert it.raw.zrem(open_(it, "keys:due"), it.key_id(ref, LIVES)) == 1


def redue(it: Scene, ref: str, score: float) -> None:
    """Let what is due say another time."""
    it.raw.zadd(open_(it, "keys:due"), {it.key_id(ref, LIVES): score})


def entry(ref: str, version: int) -> Callable[[Scene], str]:
    """Return the name of what was to be announced of an item's key-id."""
    return lambda it: f"{it.key_id(ref, LIVES)} {version}"


def record_in_outbox(it: Scene, ref: str, version: int) -> bytes:
    found: bytes = it.raw.hget(open_(it, "outbox"), entry(ref, version)(it))
    return found


# --- records ----------------------------------------------------------------------------


def unheld(**changes: Any) -> Damage:
    """Let a key-id that nobody holds say something by which nobody destroys it."""

    def do(it: Scene) -> None:
        undue(it, LEFT)
        rekey(it, LEFT, **changes)

    return do, here("key-unused", "keys", key_id(LEFT))


def yesterday(it: Scene) -> str:
    return rfc3339(it.stand.clock.now() - 86_400)


def restored_until_yesterday(it: Scene) -> None:
    undue(it, BACK)
    rekey(it, BACK, active_until=yesterday(it))


def survivor_of_its_scope(it: Scene) -> None:
    undue(it, ENDED_COPY)
    rekey(it, ENDED_COPY, state="suspended")


def forged_change(it: Scene) -> None:
    forged = record_in_outbox(it, LEFT, 2).replace(b"deactivated", b"destroyed", 1)
    it.raw.hset(open_(it, "outbox"), entry(LEFT, 2)(it), forged)


def moved_change(it: Scene) -> None:
    moved = record_in_outbox(it, LEFT, 2)
    it.raw.hset(open_(it, "outbox"), entry(HALTED, 2)(it), moved)


def renamed_change(it: Scene) -> None:
    renamed = record_in_outbox(it, LEFT, 2)
    it.raw.hset(open_(it, "outbox"), entry(LEFT, 7)(it), renamed)


def change_of_nothing(it: Scene) -> None:
    record = it.raw.hget(open_(it, "keys"), it.key_id(HELD, LIVES))
    it.raw.hset(open_(it, "outbox"), entry(HELD, 1)(it), record)


LIFE_RECORDS: dict[str, Damage] = {
    "held and destroyed": (
        lambda it: rekey(it, HELD, state="destroyed"), here("contradiction", "keys", key_id(HELD)),
    ),
    "held and deactivated": (
        lambda it: rekey(it, HELD, state="deactivated", destroy_at="manual"),
        here("contradiction", "keys", key_id(HELD)),
    ),
    "held, compromised and deactivated": (
        lambda it: rekey(it, LEAKED, own_state="deactivated", destroy_at="manual"),
        here("contradiction", "keys", key_id(LEAKED)),
    ),
    "unheld and active": unheld(state="active", destroy_at=None),
    "unheld and deactivated for ever": unheld(destroy_at=None),
    "restored until yesterday": (
        restored_until_yesterday, here("key-unused", "keys", key_id(BACK)),
    ),
    "destroyed, and yet there": (
        lambda it: it.raw.hset(it.secret("deks", LIVES), it.scope_id(ENDED, LIVES), b"blob"),
        here("dek-unused", "deks", scope_id(ENDED)),
    ),
    "lost DEK of what is partly destroyed": (
        lambda it: it.lose(it.secret("deks", LIVES), it.scope_id(PARTLY, LIVES)),
        here("dek-missing", "deks", scope_id(PARTLY)),
    ),
    "key-id that outlives its DEK": (
        survivor_of_its_scope, here("contradiction", "keys", key_id(ENDED_COPY)),
    ),
    "time that is none": (
        lambda it: rekey(it, LEFT, destroy_at="soon"), here("record-wrong", "keys", key_id(LEFT)),
    ),
    "forged change": (forged_change, here("seal-broken", "outbox", entry(LEFT, 2))),
    "change of another key-id": (moved_change, here("seal-broken", "outbox", entry(HALTED, 2))),
    "change of another version": (renamed_change, here("record-wrong", "outbox", entry(LEFT, 7))),
    "change of nothing": (change_of_nothing, here("record-wrong", "outbox", entry(HELD, 1))),
    "older record put back": (
        lambda it: rekey(it, LEFT, version=1), here("contradiction", "outbox", entry(LEFT, 2)),
    ),
}  # fmt: skip


# --- items that are gone, and were not forgotten ------------------------------------------


def lost(ref: str, *others: Found) -> Damage:
    """Lose an item that was created and that others name."""
    return (
        lambda it: it.lose(open_(it, "items"), ref),
        all_of(
            here("item-missing", "items", ref),
            here("lineage-wrong", "lineage", lambda it: it.member(ref, LIVES)),
            here("stats-wrong", "stats", "create"),
            *others,
        ),
    )


def lost_bud(it: Scene) -> None:
    """Of what is no root, only what derives from it tells."""
    it.lose(open_(it, "items"), BUD)


def unused_by(ref: str) -> Found:
    """Return what shows that nobody holds a key-id, where somebody did."""
    return all_of(
        here("holders-wrong", "holders", key_id(ref)), here("key-unused", "keys", key_id(ref))
    )


LIFE_LOSSES: dict[str, Damage] = {
    "lost source of the same scope": (
        lost_bud,
        all_of(
            here("item-missing", "items", BUD),
            here("lineage-wrong", "lineage", lambda it: it.member(BUD, LIVES)),
            here("holders-wrong", "holders", key_id(BUD)),
            here("stats-wrong", "stats", "reuse"),
        ),
    ),
    "lost root": lost(HELD, unused_by(HELD)),
    "lost source of another scope": lost(ANEW, unused_by(ANEW)),
    "lost tombstone of a root": lost(ENDED),
}


# --- indexes and counters ---------------------------------------------------------------


def time_of(it: Scene, ref: str) -> float:
    record = json.loads(it.raw.hget(open_(it, "keys"), it.key_id(ref, LIVES)))
    return unix_s(record["destroy_at"])


def clones(by: int) -> Callable[[Scene], object]:
    return lambda it: it.raw.hincrby(open_(it, "clones"), it.scope_id(LEAKED, LIVES), by)


def all_due(it: Scene) -> list[Brief]:
    refs = LEFT, BACK, LEAKED_COPY
    return [("due-wrong", LIVES, "keys:due", it.key_id(ref, LIVES)) for ref in refs]


def due_gone_but_of_the_destroyed(it: Scene) -> None:
    for ref in (LEFT, BACK, LEAKED_COPY):
        undue(it, ref)


CLONES = here("clones-wrong", "clones", scope_id(LEAKED))
LIFE_INDEXES: dict[str, Damage] = {
    "due gone": (due_gone_but_of_the_destroyed, all_due),
    "due at another time": (
        lambda it: redue(it, LEFT, time_of(it, LEFT) + 1),
        here("due-wrong", "keys:due", key_id(LEFT)),
    ),
    "restored for ever": (
        lambda it: redue(it, BACK, 9e12), here("due-wrong", "keys:due", key_id(BACK)),
    ),
    "held and due": (
        lambda it: redue(it, HELD, 1), here("due-wrong", "keys:due", key_id(HELD)),
    ),
    "suspended and due": (
        lambda it: redue(it, HALTED, 1), here("due-wrong", "keys:due", key_id(HALTED)),
    ),
    "due of nothing": (
        lambda it: it.raw.zadd(open_(it, "keys:due"), {MADE_UP: 1}),
        here("due-wrong", "keys:due", MADE_UP),
    ),
    "tombstones gone": (
        lambda it: it.raw.zrem(open_(it, "tombstones"), PLAIN, UNKNOWN),
        all_of(*(here("tombstones-wrong", "tombstones", ref) for ref in (PLAIN, UNKNOWN))),
    ),
    "tombstone of another time": (
        lambda it: it.raw.zincrby(open_(it, "tombstones"), 1, PLAIN),
        here("tombstones-wrong", "tombstones", PLAIN),
    ),
    "tombstone of nothing": (
        lambda it: it.raw.zadd(open_(it, "tombstones"), {"volume:none": 1}),
        here("tombstones-wrong", "tombstones", "volume:none"),
    ),
    "clones too many": (clones(7), CLONES),
    "clones too few": (clones(-1), CLONES),
    "clones gone": (
        lambda it: it.lose(open_(it, "clones"), it.scope_id(LEAKED, LIVES)), CLONES,
    ),
    "clones no number": (
        lambda it: it.raw.hset(open_(it, "clones"), it.scope_id(LEAKED, LIVES), "many"), CLONES,
    ),
    "clones of nothing": (
        lambda it: it.raw.hset(open_(it, "clones"), "s", 3), here("clones-wrong", "clones", "s"),
    ),
    "clones of a scope without": (
        lambda it: it.raw.hset(open_(it, "clones"), it.scope_id(HELD, LIVES), 1),
        here("clones-wrong", "clones", scope_id(HELD)),
    ),
    "clones of what is destroyed": (
        lambda it: it.raw.hset(open_(it, "clones"), it.scope_id(ENDED, LIVES), 1),
        here("clones-wrong", "clones", scope_id(ENDED)),
    ),
}  # fmt: skip
