"""Planted faults: the real code with one thing wrong, as a careless change could make it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha1
from itertools import count
from typing import Any

import pytest

from kmworker.bus.intake import Intake
from kmworker.bus.publisher import Publisher, Sent
from kmworker.bus.rabbit import RabbitBus
from kmworker.domain import planner, resolve
from kmworker.domain.decision import Create, Wait, decide
from kmworker.domain.message import Delivery, Outgoing
from kmworker.domain.model import DataAction, Encryption, Item
from kmworker.domain.new_records import new_records
from kmworker.domain.plan import AssignWrite, Committed, ParkWrite, Write, WriteStatus
from kmworker.domain.waiting import Swept, Taken
from kmworker.errors import PermanentError, Reason
from kmworker.ports import Answered, Pending
from kmworker.store import scripts
from kmworker.store.connection import store_errors
from kmworker.store.due import DueIndex
from kmworker.store.pipe import Command, Then
from kmworker.store.redis_store import RedisStore
from kmworker.store.rollback import History
from kmworker.store.scripts import Answers, Scripts
from kmworker.wire.assignments import announce, encode_data
from kmworker.worker import stages
from kmworker.worker.held_back import HeldBack
from kmworker.worker.stages import Stages
from tests.kit.simulator import store as simulated_store

Plant = Callable[[pytest.MonkeyPatch], None]


def acknowledge_before_commit(patch: pytest.MonkeyPatch) -> None:
    real = Stages.parse

    def parse(self: Stages, deliveries: Sequence[Delivery], taken: Sequence[Taken]) -> Any:
        self._bus.acknowledge(deliveries)
        return real(self, deliveries, taken)

    patch.setattr(Stages, "parse", parse)


def announce_before_commit(patch: pytest.MonkeyPatch) -> None:
    """Say that all is written, and write it when the next batch is looked up."""
    real_commit, real_look_up = RedisStore.commit, RedisStore.look_up
    late: list[Write] = []

    def commit(self: RedisStore, writes: Sequence[Write]) -> Pending[list[Committed]]:
        late.extend(writes)
        return Answered([_as_if_written(write) for write in writes])

    def look_up(self: RedisStore, items: Any) -> Pending[Any]:
        real_commit(self, late).result()
        late.clear()
        return real_look_up(self, items)

    patch.setattr(RedisStore, "commit", commit)
    patch.setattr(RedisStore, "look_up", look_up)


def acknowledge_before_confirm(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Publisher, "is_over", lambda _self, _sent: True)
    patch.setattr(Publisher, "_await_confirms", lambda _self, _sent, _while_waiting: None)


def take_a_nack_for_a_confirm(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Publisher, "_on_nack", Publisher._on_ack)


def acknowledge_what_had_no_room(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(HeldBack, "set_aside", lambda _self, _done, _confirms: 0)


def forget_a_dead_letter_that_had_no_room(patch: pytest.MonkeyPatch) -> None:
    """Hand over what is held when it is due, and drop it."""
    real = HeldBack.due_dead_letters
    patch.setattr(HeldBack, "due_dead_letters", lambda self: real(self)[:0])


def put_nothing_aside(patch: pytest.MonkeyPatch) -> None:
    """Let what is tried alone wait for what is held back, and take up the consumer's credit."""
    patch.setattr(Intake, "put_aside", lambda _self, _tags: None)


def match_a_confirm_to_the_wrong_messages(patch: pytest.MonkeyPatch) -> None:
    """Take each confirm for one of everything that is outstanding."""
    real = Publisher._confirmed

    def confirmed(self: Publisher, tag: int, *, multiple: bool) -> list[tuple[Sent, int]]:
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
    cut_out(patch, "commit", "return {ORPHAN, false, 0}")


def mint_over_an_existing_item(patch: pytest.MonkeyPatch) -> None:
    there = "if before and ARGV[at + 12] == '' then return {EXISTS, before, waits(ref)} end"
    cut_out(
        patch, "commit", f"{there}\n    return {{STALE, false, 0}}", "return {ORPHAN, false, 0}"
    )


def mint_where_the_source_is_absent(patch: pytest.MonkeyPatch) -> None:
    def hasty(event: Any, own: Any, source: Any, policy: Any) -> Any:
        decision = decide(event, own, source, policy)
        if isinstance(decision, Wait):
            return Create(Encryption("aes-xts-plain64", 512), "hasty", DataAction.NONE)
        return decision

    patch.setattr(planner, "decide", hasty)


def drop_dead_letters(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(resolve._Resolution, "_give_up", resolve._Resolution._to_settle)


def forget_channel_generations(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        RabbitBus, "generation", property(lambda _self: 1, lambda _self, _number: None),
        raising=False,
    )  # fmt: skip


def announce_the_plan(patch: pytest.MonkeyPatch) -> None:
    """Announce what was planned where the store holds what another worker was faster with."""
    real = RedisStore.commit

    def commit(self: RedisStore, writes: Sequence[Write]) -> Pending[list[Committed]]:
        committed = real(self, writes)
        return Then(
            committed,
            lambda: [
                _as_if_written(write) if answer.status is WriteStatus.EXISTS else answer
                for write, answer in zip(writes, committed.result(), strict=True)
            ],
        )

    patch.setattr(RedisStore, "commit", commit)


def announce_with_a_number(patch: pytest.MonkeyPatch) -> None:
    numbers = count()

    def stamped(*given: Any) -> Outgoing:
        outgoing = announce(*given)
        return replace(outgoing, body=outgoing.body[:-1] + b',"seen":%d}' % next(numbers))

    patch.setattr(stages, "announce", stamped)


def announce_no_partition(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(resolve._Resolution, "_stored_or_known", lambda _self, _item: None)


def clone_without_a_key_id(patch: pytest.MonkeyPatch) -> None:
    def shared(*given: Any) -> Any:
        return real(*given) if isinstance(given[1], Create) else (None, None)

    real = new_records
    patch.setattr(planner, "new_records", shared)


def count_no_holders(patch: pytest.MonkeyPatch) -> None:
    cut_out(patch, "commit", "put(holders, key_id, held[key_id])")


def count_no_shares(patch: pytest.MonkeyPatch) -> None:
    cut_out(
        patch,
        "remove",
        "give_room(project, share[1], share[2])",
        "redis.call('HDEL', KEYS[7], project)",
    )


def refuse_where_there_is_room(patch: pytest.MonkeyPatch) -> None:
    """Take a flood of another project's for the source's own."""
    cut_out(patch, "commit", "share_of(ARGV[at + 5])", by="share_of('all')")


def count_no_parking(patch: pytest.MonkeyPatch) -> None:
    cut_out(patch, "commit", " or #parked.new > 0")


def count_commits_that_write_nothing(patch: pytest.MonkeyPatch) -> None:
    cut_out(patch, "commit", "#items.new > 0 or #parked.new > 0", by="true")


def count_a_batch_before_it_is_seen_to_be_written(patch: pytest.MonkeyPatch) -> None:
    real = History.adding

    def adding(self: History) -> list[Command]:
        self._to_add = 1
        return real(self)

    patch.setattr(History, "adding", adding)


def count_commits_twice_where_scripts_are_sent_again(patch: pytest.MonkeyPatch) -> None:
    real = Scripts.start

    def start(self: Scripts, calls: Any, then: Any = (), *, once: Any = (), ahead: Any = ()) -> Any:
        pending = real(self, calls, [*once, *then], ahead=ahead)

        def end() -> Answers:
            answers = pending.result()
            return Answers(answers.calls, answers.then[: len(once)], answers.then[len(once) :])

        return Then(pending, end)

    patch.setattr(Scripts, "start", start)


def index_nothing_that_is_parked(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(DueIndex, "marking", lambda _self, _projects, _after_s: [])


def leave_to_chance_who_takes_what_waits(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(RedisStore, "mark_due", lambda _self, _projects: None)


def leave_an_index_behind(patch: pytest.MonkeyPatch) -> None:
    cut_out(patch, "remove", "redis.call('ZREM', KEYS[2], entry)")


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
            self._intake._channel.basic_ack(delivery.tag)

    patch.setattr(RabbitBus, "acknowledge", acknowledge)


def acknowledge_up_to_the_last(patch: pytest.MonkeyPatch) -> None:
    """Acknowledge with one multiple-ack, whatever is unsettled below it."""

    def acknowledge(self: RabbitBus, deliveries: Sequence[Delivery]) -> None:
        tags = [it.tag for it in deliveries if it.generation == self.generation]
        unacknowledged = self._intake.unacknowledged
        if tags and max(tags) in unacknowledged:
            self._intake._channel.basic_ack(max(tags), multiple=True)
            for tag in [tag for tag in unacknowledged if tag <= max(tags)]:
                del unacknowledged[tag]

    patch.setattr(RabbitBus, "acknowledge", acknowledge)


def _given(found: Iterable[list[Taken] | Exception]) -> list[Taken]:
    return [it for taken in found if not isinstance(taken, Exception) for it in taken]


def _as_if_written(write: Write) -> Committed:
    if isinstance(write, ParkWrite):
        return Committed(WriteStatus.PARKED)
    assert isinstance(write, AssignWrite)
    return Committed(WriteStatus.WRITTEN, write.assignment, encode_data(write.assignment))


def cut_out(patch: pytest.MonkeyPatch, script: str, *parts: str, by: str = "") -> None:
    """Let workers load a script without some of its parts, or with another in their place."""
    real = scripts.Scripts.__init__

    def edited(self: scripts.Scripts, client: Any) -> None:
        real(self, client)
        text = self._texts[script].decode()
        for part in parts:
            assert part in text, f"{script}.lua has changed: {part}"
            text = text.replace(part, by)
        self._texts[script] = text.encode()
        digest = sha1(self._texts[script], usedforsecurity=False)
        self._digests[script] = digest.hexdigest()

    patch.setattr(scripts.Scripts, "__init__", edited)
    # The simulated store remembers scripts by their text.
    for remembered in (simulated_store._scripts, simulated_store._script_names):
        patch.setattr(simulated_store, remembered.__name__, remembered.__wrapped__)
