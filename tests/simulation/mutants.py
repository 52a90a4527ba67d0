"""Planted faults: the real code with one thing wrong, as a careless change could make it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha1
from itertools import count
from typing import Any

import pytest

from kmworker import batch, outcomes, path
from kmworker.announcement import announce, encode_data
from kmworker.bus.publisher import Publisher, Sent
from kmworker.bus.rabbit import RabbitBus
from kmworker.decision import Create, Wait, decide
from kmworker.errors import PermanentError, Reason
from kmworker.message import Delivery, Outgoing
from kmworker.model import DataAction, Encryption, Item
from kmworker.path import BatchPath
from kmworker.plan import AssignWrite, ParkWrite, Write
from kmworker.ports import Commits, Committed, Known, Outcome, Swept, Taken
from kmworker.store import scripts
from kmworker.store.connection import store_errors
from kmworker.store.redis_store import RedisStore
from tests.simulation import store as simulated_store

__all__ = [
    "Plant",
    "acknowledge_before_commit",
    "acknowledge_before_confirm",
    "acknowledge_twice",
    "acknowledge_up_to_the_last",
    "announce_before_commit",
    "announce_no_partition",
    "announce_the_plan",
    "announce_with_a_number",
    "assign_what_was_marked_expired",
    "clone_without_a_key_id",
    "count_no_holders",
    "drop_dead_letters",
    "forget_channel_generations",
    "leave_an_index_behind",
    "match_a_confirm_to_the_wrong_messages",
    "mint_over_an_existing_item",
    "mint_over_an_orphaned_scope",
    "mint_where_the_source_is_absent",
    "refuse_events_when_the_store_is_away",
    "remove_a_waiting_event_when_it_is_taken",
    "sweep_only_what_is_due",
    "take_a_nack_for_a_confirm",
]

Plant = Callable[[pytest.MonkeyPatch], None]


def acknowledge_before_commit(patch: pytest.MonkeyPatch) -> None:
    real = BatchPath.parse

    def parse(self: BatchPath, deliveries: Sequence[Delivery], taken: Sequence[Taken]) -> Any:
        self._bus.acknowledge(deliveries)
        return real(self, deliveries, taken)

    patch.setattr(BatchPath, "parse", parse)


def announce_before_commit(patch: pytest.MonkeyPatch) -> None:
    """Say that all is written, and write it when the next batch is looked up."""
    real_write, real_ask = RedisStore.write, RedisStore.ask
    late: list[Write] = []

    def write(self: RedisStore, writes: Sequence[Write]) -> Commits:
        late.extend(writes)
        return lambda: [_as_if_written(write) for write in writes]

    def ask(self: RedisStore, items: Any) -> Known:
        real_write(self, late)()
        late.clear()
        return real_ask(self, items)

    patch.setattr(RedisStore, "write", write)
    patch.setattr(RedisStore, "ask", ask)


def acknowledge_before_confirm(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Publisher, "is_over", lambda _self, _sent: True)
    patch.setattr(Publisher, "_await_confirms", lambda _self, _sent, _while_waiting: None)


def take_a_nack_for_a_confirm(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Publisher, "_on_nack", Publisher._on_ack)


def match_a_confirm_to_the_wrong_messages(patch: pytest.MonkeyPatch) -> None:
    """Take each confirm for one of everything that is outstanding."""
    real = Publisher._confirmed

    def confirmed(self: Publisher, tag: int, *, multiple: bool) -> list[Sent]:
        return real(self, max(self._unconfirmed, default=tag), multiple=True)

    patch.setattr(Publisher, "_confirmed", confirmed)


def remove_a_waiting_event_when_it_is_taken(patch: pytest.MonkeyPatch) -> None:
    real = RedisStore.take

    def take(self: RedisStore, sources: Sequence[Item], limit: int) -> Any:
        taken = real(self, sources, limit)
        self.remove([waiting.entry for waiting in _given(taken)])
        return taken

    patch.setattr(RedisStore, "take", take)


def mint_over_an_orphaned_scope(patch: pytest.MonkeyPatch) -> None:
    _cut_out(patch, "commit", "return {ORPHAN, false, 0}")


def mint_over_an_existing_item(patch: pytest.MonkeyPatch) -> None:
    before = "if before then return {EXISTS, before, waits(ref)} end"
    _cut_out(patch, "commit", before, "return {ORPHAN, false, 0}")


def mint_where_the_source_is_absent(patch: pytest.MonkeyPatch) -> None:
    def hasty(event: Any, own: Any, source: Any, policy: Any) -> Any:
        decision = decide(event, own, source, policy)
        if isinstance(decision, Wait):
            return Create(Encryption("aes-xts-plain64", 512), "hasty", DataAction.NONE)
        return decision

    patch.setattr(batch, "decide", hasty)


def drop_dead_letters(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(outcomes._Sorting, "_bury", outcomes._Sorting._settle)


def forget_channel_generations(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        RabbitBus, "generation", property(lambda _self: 1, lambda _self, _number: None),
        raising=False,
    )  # fmt: skip


def announce_the_plan(patch: pytest.MonkeyPatch) -> None:
    """Announce what was planned where the store holds what another worker was faster with."""
    real = RedisStore.write

    def write(self: RedisStore, writes: Sequence[Write]) -> Commits:
        commits = real(self, writes)
        return lambda: [
            _as_if_written(write) if answer.outcome is Outcome.EXISTS else answer
            for write, answer in zip(writes, commits(), strict=True)
        ]

    patch.setattr(RedisStore, "write", write)


def announce_with_a_number(patch: pytest.MonkeyPatch) -> None:
    numbers = count()

    def stamped(*given: Any) -> Outgoing:
        outgoing = announce(*given)
        return replace(outgoing, body=outgoing.body[:-1] + b',"seen":%d}' % next(numbers))

    patch.setattr(path, "announce", stamped)


def announce_no_partition(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(outcomes._Sorting, "_stored_or_known", lambda _self, _item: None)


def clone_without_a_key_id(patch: pytest.MonkeyPatch) -> None:
    def shared(*given: Any) -> Any:
        return real(*given) if isinstance(given[1], Create) else (None, None)

    real = batch._records
    patch.setattr(batch, "_records", shared)


def count_no_holders(patch: pytest.MonkeyPatch) -> None:
    _cut_out(patch, "commit", "redis.pcall('HINCRBY', KEYS[6], key_id, number)")


def leave_an_index_behind(patch: pytest.MonkeyPatch) -> None:
    _cut_out(patch, "remove", "redis.call('ZREM', KEYS[2], entry)")


def refuse_events_when_the_store_is_away(patch: pytest.MonkeyPatch) -> None:
    real = store_errors

    @contextmanager
    def harsh() -> Iterator[None]:
        try:
            with real():
                yield
        except Exception as error:
            raise PermanentError(Reason.INTEGRITY, "the store is away") from error

    patch.setattr(scripts, "store_errors", harsh)


def sweep_only_what_is_due(patch: pytest.MonkeyPatch) -> None:
    real = RedisStore.sweep

    def sweep(self: RedisStore, *given: Any) -> Swept:
        return replace(real(self, *given), present=[])

    patch.setattr(RedisStore, "sweep", sweep)


def assign_what_was_marked_expired(patch: pytest.MonkeyPatch) -> None:
    real = RedisStore.take

    def take(self: RedisStore, sources: Sequence[Item], limit: int) -> Any:
        return [
            [
                replace(waiting, entry=replace(waiting.entry, expired=False))
                for waiting in _given([found])
            ]
            for found in real(self, sources, limit)
        ]

    patch.setattr(RedisStore, "take", take)


def acknowledge_twice(patch: pytest.MonkeyPatch) -> None:
    real = RabbitBus.acknowledge

    def acknowledge(self: RabbitBus, deliveries: Sequence[Delivery]) -> None:
        real(self, deliveries)
        for delivery in deliveries:
            self._channel.basic_ack(delivery.tag)

    patch.setattr(RabbitBus, "acknowledge", acknowledge)


def acknowledge_up_to_the_last(patch: pytest.MonkeyPatch) -> None:
    """Acknowledge with one multiple-ack, whatever is unsettled below it."""

    def acknowledge(self: RabbitBus, deliveries: Sequence[Delivery]) -> None:
        tags = [it.tag for it in deliveries if it.generation == self.generation]
        if tags and max(tags) in self._unacknowledged:
            self._channel.basic_ack(max(tags), multiple=True)
            for tag in [tag for tag in self._unacknowledged if tag <= max(tags)]:
                del self._unacknowledged[tag]

    patch.setattr(RabbitBus, "acknowledge", acknowledge)


def _given(found: Iterable[list[Taken] | Exception]) -> list[Taken]:
    return [it for taken in found if not isinstance(taken, Exception) for it in taken]


def _as_if_written(write: Write) -> Committed:
    if isinstance(write, ParkWrite):
        return Committed(Outcome.PARKED)
    assert isinstance(write, AssignWrite)
    return Committed(Outcome.WRITTEN, write.assignment, encode_data(write.assignment))


def _cut_out(patch: pytest.MonkeyPatch, script: str, *parts: str) -> None:
    """Let workers load a script without some of its parts."""
    real = scripts.Scripts.__init__

    def edited(self: scripts.Scripts, client: Any) -> None:
        real(self, client)
        text = self._texts[script].decode()
        for part in parts:
            assert part in text, f"{script}.lua has changed: {part}"
            text = text.replace(part, "")
        self._texts[script] = text.encode()
        digest = sha1(self._texts[script], usedforsecurity=False)
        self._digests[script] = digest.hexdigest()

    patch.setattr(scripts.Scripts, "__init__", edited)
    # The simulated store remembers scripts by their text.
    for remembered in (simulated_store._script_texts, simulated_store._script_names):
        patch.setattr(simulated_store, remembered.__name__, remembered.__wrapped__)
