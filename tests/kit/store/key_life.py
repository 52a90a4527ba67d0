"""Key-ids of one project through their lives: what operators and janitors do, and what is left."""

from typing import Any

from kmworker.clock import rfc3339
from kmworker.domain.keys import Operator
from kmworker.domain.lifecycle import Step, step
from kmworker.domain.model import Held, Item, KeyChanged, KeyRecord, Released, held_in
from kmworker.domain.retention import Change, KeySeen, Moment
from kmworker.janitor.project import PassResult, ProjectPass
from kmworker.store.key_states import KeyStates, holders_of
from kmworker.store.records import RecordCodec
from kmworker.store.retention import RedisRetention
from tests.kit.store.builders import CUSTODY
from tests.kit.store.playing import DAYS_30_S
from tests.kit.store.stand import Stand

__all__ = [
    "ALICE", "after_30_days", "command", "deks", "due", "key_of", "keys_unsaid", "outbox",
    "retention", "seen", "states", "tidy",
]  # fmt: skip

ALICE = Operator("alice", "a drill")


def key_of(stand: Stand, item: Item) -> KeyRecord:
    state = stand.look_up(item)[item]
    assert isinstance(state, Held | Released)
    held = held_in(state)
    assert held is not None
    assert held.key is not None
    return held.key


def outbox(stand: Stand) -> list[str]:
    return sorted(it.decode() for it in stand.value(stand.key("p1", "outbox")) or ())


def keys_unsaid(stand: Stand) -> list[KeyChanged]:
    """Return what is to be announced of key-ids."""
    return [it for it in stand.first.unsaid() if isinstance(it, KeyChanged)]


def due(stand: Stand) -> dict[str, float]:
    found = stand.raw.zrange(stand.key("p1", "keys:due"), 0, -1, withscores=True)
    return {name.decode(): score for name, score in found}


def deks(stand: Stand) -> int:
    return int(stand.raw.hlen(stand.secret("p1", "deks")))


def states(stand: Stand, role: str = "key-operator") -> KeyStates:
    return KeyStates(stand.views(role), RecordCodec(CUSTODY))


def seen(stand: Stand, item: Item) -> KeySeen:
    key_id = key_of(stand, item).key_id
    return states(stand).read("p1", [key_id])[key_id]


def command(stand: Stand, item: Item, what: Step) -> bool:
    """Do what ``kmworker key`` does."""
    it = seen(stand, item)
    now = stand.clock.now()
    after = step(
        it.key, it.scope, what,
        by=ALICE, at=rfc3339(now), destroy_at=rfc3339(now + DAYS_30_S), holders=holders_of(it),
        active_until=rfc3339(now + DAYS_30_S),
    )  # fmt: skip
    assert isinstance(after, KeyRecord), after
    return states(stand).change("p1", [Change(it, after, compares_holders=True)]) == [True]


def retention(stand: Stand) -> RedisRetention:
    return RedisRetention(stand.views("janitor"), RecordCodec(CUSTODY))


def tidy(stand: Stand, found: RedisRetention | None = None, **options: Any) -> PassResult:
    """Let a janitor go over the project once."""
    now = stand.clock.now()
    one = ProjectPass(
        found or retention(stand),
        "p1",
        Moment(rfc3339(now), rfc3339(now + DAYS_30_S)),
        now_s=now,
        tombstone_s=DAYS_30_S,
        **{"may_destroy": True, "on_page": lambda _size: None, **options},
    )
    return one.run()


def after_30_days(stand: Stand) -> None:
    stand.clock.sleep(DAYS_30_S + 1)
