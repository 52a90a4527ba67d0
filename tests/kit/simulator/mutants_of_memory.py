"""Planted faults: what a worker presumes or remembers is taken for what is so."""

from collections.abc import Iterable
from typing import Any

import pytest

from kmworker.domain import resolve
from kmworker.domain.model import Item
from kmworker.domain.plan import Arrival
from kmworker.ports import Pending
from kmworker.store.pipe import Then
from kmworker.store.recent import RecentRecords
from kmworker.store.redis_store import RedisStore
from tests.kit.simulator.mutants import cut_out


def compare_no_source(patch: pytest.MonkeyPatch) -> None:
    """Write what rests on a source as it was recalled, whatever has become of it."""
    comparison = "not is_unchanged(source, ARGV[at + 9], ARGV[at + 10], ARGV[at + 11])"
    cut_out(patch, "commit", comparison, by="false")


def believe_what_is_recalled(patch: pytest.MonkeyPatch) -> None:
    """Answer look-ups from memory, also after an admission."""
    real = RedisStore.look_up

    def look_up(self: RedisStore, items: Iterable[Item]) -> Pending[Any]:
        wanted = list(items)
        recalled = self.recall(wanted)
        asked = real(self, [item for item in wanted if item not in recalled])
        return Then(asked, lambda: {**asked.result(), **recalled})

    patch.setattr(RedisStore, "look_up", look_up)
    patch.setattr(RecentRecords, "clear", lambda _self: None)


def take_a_repeat_for_new(patch: pytest.MonkeyPatch) -> None:
    """Presume again what has been found to be there."""
    patch.setattr(Arrival, "is_first", property(lambda _self: True))


def take_a_conflict_for_a_repeat(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(resolve._Resolution, "_is_told_by_look_up", lambda *_: False)
