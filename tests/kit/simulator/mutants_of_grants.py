"""Planted faults in who gets which key, and in what is recorded of it before."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from kmworker.bus import audit_trail
from kmworker.bus.audit_trail import RabbitAuditTrail
from kmworker.bus.request_queue import RabbitRequestQueue
from kmworker.domain import grants, planner
from kmworker.domain.audit import AuditRecord
from kmworker.domain.event import Detach
from kmworker.domain.grants import Grants, Unchanged
from kmworker.domain.message import Delivery
from kmworker.keyserver import decide
from kmworker.keyserver.answering import Answering
from kmworker.keyserver.deciding import Deciding
from kmworker.keyserver.loop import KeyServer
from kmworker.keyserver.newest import NewestSeen
from kmworker.keyserver.recording import Granted
from kmworker.keyserver.waiting import WaitingRequests
from kmworker.ports import Answered, Pending


def answer_before_the_record_is_confirmed(patch: pytest.MonkeyPatch) -> None:
    real = RabbitAuditTrail.record

    def record(self: RabbitAuditTrail, records: Sequence[AuditRecord]) -> Pending[None]:
        real(self, records)
        return Answered(None)

    patch.setattr(RabbitAuditTrail, "record", record)


def record_deliveries_alone(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("kmworker.keyserver.answering.RECORDED", frozenset())


def take_a_refused_record_for_a_record(patch: pytest.MonkeyPatch) -> None:
    def result(self: Any) -> None:
        self.settle()

    patch.setattr(audit_trail._Recording, "result", result)


def record_what_is_asked_again_no_more(patch: pytest.MonkeyPatch) -> None:
    real = RabbitAuditTrail.record
    seen: set[str | None] = set()

    def record(self: RabbitAuditTrail, records: Sequence[AuditRecord]) -> Pending[None]:
        fresh = [it for it in records if it.request not in seen]
        seen.update(it.request for it in records)
        return real(self, fresh)

    patch.setattr(RabbitAuditTrail, "record", record)


def look_once(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Deciding, "still", lambda _self, granted: {id(it) for it in granted})


def look_again_before_it_is_recorded(patch: pytest.MonkeyPatch) -> None:
    real, looked = Deciding.still, Answering._answered
    still: list[set[int]] = []

    def answered(self: Answering, found: Any, *more: Any) -> Any:
        still[:] = [real(self._deciding, found.granted)]
        return looked(self, found, *more)

    patch.setattr(Answering, "_answered", answered)
    patch.setattr(Deciding, "still", lambda _self, _granted: still[0])


def ask_once_who_is_a_client(patch: pytest.MonkeyPatch) -> None:
    real = Deciding.still

    def still(self: Deciding, granted: Sequence[Granted]) -> set[int]:
        store, known = self._store, {it.asking.client.name: it.asking.client for it in granted}
        patch.setattr(self, "_store", _Knowing(store, known))
        try:
            return real(self, granted)
        finally:
            self._store = store

    patch.setattr(Deciding, "still", still)


class _Knowing:
    """A store whose clients are known."""

    def __init__(self, real: Any, known: Any) -> None:
        self._real = real
        self._known = known

    def clients(self, _names: Sequence[str]) -> Any:
        return self._known

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def let_any_node_have_it(patch: pytest.MonkeyPatch) -> None:
    real = decide._grants

    def granted(client: Any, found: Any, now_s: float) -> Any:
        nodes = tuple(it.grant.node for it in found.grants.live)
        return real(replace(client, rights=replace(client.rights, nodes=nodes)), found, now_s)

    patch.setattr(decide, "_grants", granted)


def let_a_grant_last(patch: pytest.MonkeyPatch) -> None:
    real = decide._grants
    patch.setattr(decide, "_grants", lambda client, found, _now_s: real(client, found, 0.0))


def take_a_grant_for_any_life(patch: pytest.MonkeyPatch) -> None:
    real = decide._grants

    def granted(client: Any, found: Any, now_s: float) -> Any:
        if found.state is not None:
            live = [
                replace(it, grant=replace(it.grant, generation=found.state.generation))
                for it in found.grants.live
            ]
            found = replace(found, grants=Grants(1, tuple(live)))
        return real(client, found, now_s)

    patch.setattr(decide, "_grants", granted)


def deliver_whatever_state_it_is_in(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(decide, "STATES", {})


def leave_no_tombstone_of_an_early_end(patch: pytest.MonkeyPatch) -> None:
    real = grants.granted

    def granted(known: Grants, event: Any, *more: Any) -> Any:
        is_known = event.attachment in {it.id for it in known.attachments}
        return Unchanged() if isinstance(event, Detach) and not is_known else real(
            known, event, *more
        )  # fmt: skip

    patch.setattr(planner, "granted", granted)


def revive_what_is_over(patch: pytest.MonkeyPatch) -> None:
    real = grants.granted

    def granted(known: Grants, event: Any, *more: Any) -> Any:
        if not isinstance(event, Detach):
            known = replace(known, attachments=known.live)
        return real(known, event, *more)

    patch.setattr(planner, "granted", granted)


def end_all_attachments_with_one(patch: pytest.MonkeyPatch) -> None:
    real = grants.granted

    def granted(known: Grants, event: Any, *more: Any) -> Any:
        after = real(known, event, *more)
        if not isinstance(event, Detach) or not isinstance(after, Grants):
            return after
        ended = next(it.over for it in after.attachments if it.id == event.attachment)
        return replace(
            after, attachments=tuple(replace(it, over=ended) for it in after.attachments)
        )

    patch.setattr(planner, "granted", granted)


def settle_what_comes_as_it_comes(patch: pytest.MonkeyPatch) -> None:
    real = RabbitRequestQueue.receive

    def receive(self: RabbitRequestQueue, limit: int, timeout_s: float) -> list[Delivery]:
        deliveries = real(self, limit, timeout_s)
        self.acknowledge(deliveries)
        return deliveries

    patch.setattr(RabbitRequestQueue, "receive", receive)


def keep_what_was_taken_when_answers_cannot_leave(patch: pytest.MonkeyPatch) -> None:
    real = KeyServer._let_go

    def let_go(self: KeyServer, error: Exception) -> None:
        patch.setattr(self._queue, "close", lambda: None)
        real(self, error)
        patch.delattr(self._queue, "close")

    patch.setattr(KeyServer, "_let_go", let_go)


def look_no_more_at_what_waits(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(WaitingRequests, "due", lambda _self, *, is_busy: [])  # noqa: ARG005  # as called


def refuse_for_ever_whose_attachment_was_over_once(patch: pytest.MonkeyPatch) -> None:
    def revives(self: NewestSeen, item: Any, found: Grants) -> bool:
        is_over = any(it.over is not None for it in found.attachments)
        self._over.is_older((item, ""), int(is_over))
        return bool(self._over.of((item, "")) and found.live)

    patch.setattr(NewestSeen, "_revives", revives)


def seal_the_first_key_for_all(patch: pytest.MonkeyPatch) -> None:
    real = Answering._sealed
    first: list[Granted] = []

    def sealed(self: Answering, it: Granted, *more: Any) -> Any:
        first.append(it)
        scope = first[0].deliver.scope
        deliver = replace(it.deliver, scope=replace(scope, encryption=it.deliver.scope.encryption))
        return real(self, replace(it, deliver=deliver, wrapped=first[0].wrapped), *more)

    patch.setattr(Answering, "_sealed", sealed)
