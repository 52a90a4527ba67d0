"""Planted faults in turning KEKs over."""

from collections.abc import Iterator
from typing import Any

import pytest

from kmworker.store import rewrapping
from kmworker.store.reading import StoreReader
from kmworker.store.rewrapping import Rewrapping
from kmworker.store.writes import Writes
from tests.kit.simulator.mutants import cut_out


def compare_no_fence(patch: pytest.MonkeyPatch) -> None:
    """Let a writer that slept write."""
    cut_out(patch, "commit", "if fence > tonumber(ARGV[2]) then", by="if false then")


def list_projects_without_a_look_at_the_keks(patch: pytest.MonkeyPatch) -> None:
    real = Writes._register

    def register(self: Writes, projects: Any) -> bool:
        patch.setattr(self, "_on_states", lambda _states: None)
        return real(self, projects)

    patch.setattr(Writes, "_register", register)


def swap_a_seal_without_its_dek(patch: pytest.MonkeyPatch) -> None:
    cut_out(
        patch, "rewrap", "redis.call('HSET', KEYS[4], field, dek_after)"
    )  # fmt: skip


def count_before_the_fence(patch: pytest.MonkeyPatch) -> None:
    """Believe a count, whoever may write under the old KEK still."""
    real = Rewrapping._make

    def make(self: Rewrapping, *given: Any, is_fencing: bool = False) -> int:
        del is_fencing
        return real(self, *given)

    patch.setattr(Rewrapping, "_make", make)
    patch.setattr(Rewrapping, "is_fenced", lambda _self, _project: True)


def leave_what_waits_under_the_old_kek(patch: pytest.MonkeyPatch) -> None:
    kept = tuple(key for key in rewrapping.SEALED if key != "parked")
    patch.setattr(rewrapping, "SEALED", kept)


def write_over_what_has_changed_meanwhile(patch: pytest.MonkeyPatch) -> None:
    cut_out(
        patch, "rewrap",
        "local is_same = redis.call(is_in_list and 'LINDEX' or 'HGET', key, field) == before",
        by="local is_same = true",
    )  # fmt: skip


def scan_no_last_page(patch: pytest.MonkeyPatch) -> None:
    real = StoreReader.all

    def all_but_the_last(self: StoreReader, project: str, key: str) -> Iterator[Any]:
        pages = [page for page in real(self, project, key) if page]
        yield from pages[:-1] if key == "keys" else pages

    patch.setattr(StoreReader, "all", all_but_the_last)
