"""Planted faults in what becomes of items that go, of lives of a name, and of keys at their end."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from kmworker.domain import decision, retention
from kmworker.domain.model import held_in
from kmworker.domain.retention import Destroy
from kmworker.janitor.project import ProjectPass
from kmworker.store import compromising
from kmworker.store.census import Census
from kmworker.store.inspection import Views
from kmworker.store.redis_store import RedisStore
from kmworker.store.retention import RedisRetention
from kmworker.worker import outbox, stages
from tests.kit.simulator.mutants import cut_out


def destroy_without_looking_who_has_joined(patch: pytest.MonkeyPatch) -> None:
    cut_out(patch, "destroy", "or (redis.call('HGET', KEYS[6], key_id) or '-') ~= ARGV[4]")


def destroy_without_looking_what_was_cloned(patch: pytest.MonkeyPatch) -> None:
    cut_out(patch, "destroy", "or (redis.call('HGET', KEYS[7], scope_id) or '-') ~= ARGV[7]")


def destroy_the_dek_with_any_of_its_key_ids(patch: pytest.MonkeyPatch) -> None:
    real = retention._end

    def end(*given: Any) -> Destroy:
        return replace(real(*given), is_last=True)

    patch.setattr(retention, "_end", end)


def count_no_page_of_items(patch: pytest.MonkeyPatch) -> None:
    """Skip the last page of a count."""
    real = Views.all_records

    def all_records(self: Views, project: str, key: str) -> Iterator[list[tuple[str, bytes]]]:
        pages = list(real(self, project, key))
        yield from pages[:-1] if key == "items" else pages

    patch.setattr(Views, "all_records", all_records)


def deactivate_without_looking_at_other_holders(patch: pytest.MonkeyPatch) -> None:
    others = "(tonumber(get(holders, key_id) or '') or 0) + held[key_id] <= 0"
    cut_out(patch, "commit", others, by="true")


def deactivate_nothing(patch: pytest.MonkeyPatch) -> None:
    cut_out(patch, "commit", "is_last = deactivated ~= ''", by="is_last = false")


def find_nothing_due(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(RedisRetention, "due", lambda *_given: [])


def derive_from_whatever_life_there_is(patch: pytest.MonkeyPatch) -> None:
    real = decision._life_of

    def life_of(source: Any, wanted: int) -> Any:
        return held_in(source) or real(source, wanted)

    patch.setattr(decision, "_life_of", life_of)


def keep_no_change_for_whoever_tells(patch: pytest.MonkeyPatch) -> None:
    cut_out(
        patch, "commit",
        """put(outbox, key_id .. ' ' .. string.match(record, '"version":(%d+)'), record)""",
    )  # fmt: skip


def keep_no_end_for_whoever_tells(patch: pytest.MonkeyPatch) -> None:
    cut_out(
        patch,
        "destroy",
        "redis.call('HSET', KEYS[4], key_id .. ' ' .. "
        """string.match(ARGV[3], '"version":(%d+)'), ARGV[3])""",
    )


def take_changes_for_told_that_were_refused(patch: pytest.MonkeyPatch) -> None:
    for module in (outbox, stages):
        patch.setattr(module, "taken", lambda changes, _confirms: list(changes))


def leave_in_the_outbox_what_was_told(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(RedisStore, "said", lambda _self, _changes: None)


def find_no_outbox_that_the_index_lacks(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Census, "_see_that_they_are_announced", lambda _self, _projects, _now: iter(()))


def forget_the_root_before_its_scope(patch: pytest.MonkeyPatch) -> None:
    real = ProjectPass._forget_scope

    def forget_scope(self: ProjectPass, seen: Any, count: Any) -> None:
        for page in self._retention.members(self._project, seen.scope.scope_id):
            self._forget(page or [])
        real(self, seen, count)

    patch.setattr(ProjectPass, "_forget_scope", forget_scope)


def mark_only_the_scope_as_compromised(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(compromising, "compromised", lambda _key, _scope: None)
