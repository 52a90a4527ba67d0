"""Requests as they come: what is not authenticated is counted, and nothing is sent anywhere."""

from dataclasses import replace
from typing import Any

import pytest

from kmworker.delegation.requests import SignedRequest
from kmworker.domain.audit import Act
from kmworker.keyserver.rates import Rates
from kmworker.wire.answers.messages import Refusal
from tests.kit.simulator.clock import SettableClock
from tests.unit.keyserver.world import CLIENT, MARK, NAME, STRANGER, World, requested


@pytest.fixture
def world() -> World:
    return World()


def dropped(world: World) -> dict[str, int]:
    return {name: it for name, it in world.tally.counts.items() if name.startswith("dropped_")}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"body": b"x" * 70_000}, "too_large"),
        ({"user_id": None}, "no_user"),
        ({"user_id": "another"}, "unknown_client"),
        ({"signature": None}, "unsigned"),
        ({"signature": "x"}, "forged"),
        ({"body": b"{}"}, "forged"),
        ({"reply_to": "kmworker.events.work"}, "no_address"),
        ({"reply_to": None}, "no_address"),
    ],
    ids=["large", "nobody", "stranger", "unsigned", "no signature", "altered", "queue", "nowhere"],
)
def test_what_is_not_a_client_s_own_is_counted_and_settled(
    world: World, change: dict[str, Any], why: str
) -> None:
    request = requested()
    said: dict[str, Any] = {"body": request.body, "signature": request.signature, **change}
    world.server().handle([world.deliver(said.pop("body"), said.pop("signature"), **said)])
    assert dropped(world) == {f"dropped_{why}": 1}
    assert (world.sent, world.trail, world.unsettled) == ([], [], [])


def test_another_s_signature_is_forged_whoever_the_broker_says_it_is(world: World) -> None:
    world.server().handle([world.ask(requested(identity=STRANGER))])
    assert dropped(world) == {"dropped_forged": 1}


def test_another_client_s_request_under_one_s_own_name_is_forged(world: World) -> None:
    world.known["thief"] = replace(CLIENT, name="thief", identities=(STRANGER.public,))
    world.server().handle([world.ask(requested(), user_id="thief")])
    assert dropped(world) == {"dropped_forged": 1}


def refused(world: World, request: SignedRequest) -> list[Refusal]:
    world.server().handle([world.ask(request)])
    return world.refusals(request)


@pytest.mark.parametrize("minutes", [-6, 6, 60, -60])
def test_a_stale_request_is_told_the_time(world: World, minutes: int) -> None:
    world.clock.advance(60 * minutes)
    request = requested()
    assert refused(world, request) == [Refusal.STALE_REQUEST]
    (checked,) = world.answers_to(request)
    assert checked.at_s == pytest.approx(world.clock.now(), abs=0.001)


def test_a_revoked_client_is_told_that_it_is_one_no_more(world: World) -> None:
    world.known[NAME] = replace(CLIENT, revoked=MARK)
    assert refused(world, requested()) == [Refusal.UNKNOWN_CLIENT]
    assert [it.what for it in world.trail] == [Act.KEY_REFUSED]


def test_the_answer_may_go_to_the_client_s_own_queue_and_to_no_other(world: World) -> None:
    own = requested(reply_to=f"km.clients.{NAME}/1")
    world.server().handle([world.ask(own)])
    assert [it.queue for it in world.sent] == [f"km.clients.{NAME}/1"]
    for other in ("km.clients.another/1", f"km.clients.{NAME}", f"km.clients.{NAME}/2"):
        world.server().handle([world.ask(requested(reply_to=other))])
    assert dropped(world) == {"dropped_no_address": 3}


def test_a_client_that_asks_too_often_is_not_heard_and_others_are() -> None:
    clock = SettableClock()
    rates = Rates(2.0, 3, clock.monotonic)
    assert [rates.may_ask("a") for _ in range(4)] == [True, True, True, False]
    assert rates.may_ask("b")
    clock.advance(0.5)
    assert [rates.may_ask("a") for _ in range(2)] == [True, False]
    clock.advance(3600)
    assert [rates.may_ask("a") for _ in range(4)] == [True, True, True, False]
