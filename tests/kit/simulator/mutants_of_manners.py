"""Planted faults in how a worker bears with others: users, neighbours, clocks, and servers."""

from typing import Any

import pytest

from kmworker.bus.intake import Intake
from kmworker.bus.publisher import Publisher
from kmworker.clock import StoreClock
from kmworker.crypto.record_mac import Sealer
from kmworker.domain import planner, resolve
from kmworker.domain.decision import decide
from kmworker.domain.plan import ParkWrite, WriteStatus
from kmworker.domain.producers import Producers
from kmworker.errors import BrokerUnavailable, PermanentError, Reason, StoreUnavailable
from kmworker.store import connection, scripts, writes
from kmworker.store.crowds import Crowds
from kmworker.store.records import RecordCodec
from kmworker.store.rollback import History
from tests.kit.simulator import happenings
from tests.kit.simulator.installation import SIMULATED
from tests.kit.simulator.store import SimulatedClient


def go_by_ones_own_clock(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(StoreClock, "now", lambda self: self._clock.now())


def seal_for_any_installation(patch: pytest.MonkeyPatch) -> None:
    real = Sealer.__init__
    patch.setattr(
        Sealer, "__init__", lambda self, keks, active, _theirs: real(self, keks, active, SIMULATED)
    )
    # It was made by the real code before.
    made = happenings._assigned_elsewhere
    patch.setattr(happenings, made.__name__, made.__wrapped__)


def compare_no_commits(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(History, "_compare", lambda _self, _found: None)


def keep_the_connection(patch: pytest.MonkeyPatch) -> None:
    """Stay with whoever was connected to, whatever the name leads to by now."""
    patch.setattr(SimulatedClient, "drop_connections", lambda _self: None)


def blame_an_event_for_what_the_store_says(patch: pytest.MonkeyPatch) -> None:
    """Take for an outage only what is known to be one."""
    real = connection.translate

    def translate(error: Any, *, of_project: bool = False) -> Exception:
        found = real(error, of_project=of_project)
        if of_project and "upstream" in str(error):
            return PermanentError(Reason.INTERNAL, str(error))
        return found

    for module in (connection, scripts):
        patch.setattr(module, "translate", translate)


def begin_with_all_that_may_be_at_hand(patch: pytest.MonkeyPatch) -> None:
    def open_wide(self: Intake) -> None:
        self._forget()
        with self._link.call():
            self._channel = self._link.connection.channel()
            self._widen(self._prefetch)

    patch.setattr(Intake, "open", open_wide)
    patch.setattr(Intake, "adjust", lambda _self: None)


def take_a_refused_message_for_an_outage(patch: pytest.MonkeyPatch) -> None:
    def explained(_self: Publisher, error: BrokerUnavailable) -> BrokerUnavailable:
        return error

    patch.setattr(Publisher, "_explained", explained)


def stop_for_a_full_room(patch: pytest.MonkeyPatch) -> None:
    """Let everything wait until there is room for this one."""
    real = resolve._Resolution._parked

    def parked(self: Any, arrival: Any, answer: Any) -> None:
        if answer.status is WriteStatus.FULL:
            raise StoreUnavailable(answer.detail)
        real(self, arrival, answer)

    patch.setattr(resolve._Resolution, "_parked", parked)


def count_strangers_as_ones_own(patch: pytest.MonkeyPatch) -> None:
    """Let another project's events wait here up to the bound of this project's."""

    def is_foreign(_write: ParkWrite) -> bool:
        return False

    patch.setattr(writes, "_is_foreign", is_foreign)


def leave_crowds_listed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Crowds, "review", lambda _self: None)


def hear_anyone(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Producers, "objection", lambda _self, _event, _properties: None)


def take_no_user_for_granted(patch: pytest.MonkeyPatch) -> None:
    """Decide without the properties that say who has sent an event."""

    def answer(self: Any, arrival: Any, own: Any) -> Any:
        return decide(arrival.event, own, self._source(arrival.event), self._policy)

    patch.setattr(planner._Planning, "_answer", answer)


def ask_for_the_user_after_waiting(patch: pytest.MonkeyPatch) -> None:
    def patient(event: Any, own: Any, source: Any, policy: Any, properties: Any = None) -> Any:
        if event.derived_from is not None and source is None:
            return decide(event, own, source, policy.without_producers())
        return decide(event, own, source, policy, properties or {})

    patch.setattr(planner, "decide", patient)


def forget_the_user_of_what_waits(patch: pytest.MonkeyPatch) -> None:
    real = RecordCodec.read_parked

    def read_parked(self: RecordCodec, *place: Any) -> Any:
        original = real(self, *place)
        kept = {name: it for name, it in original.properties.items() if name != "user_id"}
        return type(original)(original.body, original.routing_key, kept)

    patch.setattr(RecordCodec, "read_parked", read_parked)
