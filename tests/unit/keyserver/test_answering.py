"""A batch of requests: nothing leaves that is not recorded, whatever ends where."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

import pytest
from structlog.testing import capture_logs

from kmworker.delegation.checking import DeliveredKey
from kmworker.delegation.identity import PublicIdentity
from kmworker.delegation.requests import sign_request
from kmworker.domain.audit import Act, ActOutcome
from kmworker.domain.model import Item, KeyState
from kmworker.errors import StoreUnavailable, UnknownKek
from kmworker.keyserver.answering import AnswerStep
from kmworker.keyserver.ports import FoundKey
from kmworker.keyserver.rates import BARRED_S
from kmworker.keyserver.waiting import LOOK_S
from kmworker.wire.answers.bodies import Asked
from kmworker.wire.answers.messages import Refusal
from kmworker.wire.requests.key_requested import KeyRequested
from kmworker.wire.requests.request import DIRECT_REPLY
from tests.kit.builders import held, released, volume
from tests.unit.keyserver.world import (
    AT,
    CLIENT,
    DEK,
    IDENTITY,
    INSTALLATION,
    KEY_ID,
    MARK,
    NAME,
    RIGHTS,
    STRANGER,
    WAIT_S,
    EndedHere,
    V,
    World,
    key_of,
    live,
    over,
    requested,
)

OTHER_ID: Final = "5f0e1c9a-0000-4000-8000-0000000000ff"


@pytest.fixture
def world() -> World:
    return World()


def delivered(world: World, request: object) -> list[bytes]:
    """The keys that were delivered to a request."""
    answers = [it.answer for it in world.answers_to(request)]  # type: ignore[arg-type]
    return [bytes(it.key.view) for it in answers if isinstance(it, DeliveredKey)]


def acts(world: World) -> list[Act]:
    return [it.what for it in world.trail]


def test_a_granted_key_is_recorded_delivered_and_settled(world: World) -> None:
    request = requested(purpose="attach")
    world.server().handle([world.ask(request)])
    assert delivered(world, request) == [DEK]
    (record,) = world.trail
    assert (record.what, record.who.name, record.item) == (Act.KEY_DELIVERED, NAME, V.ref)
    assert (record.request, record.reason, record.attachment_id) == (
        request.asked.id, "attach", "a1",
    )  # fmt: skip
    assert world.unsettled == []


def test_who_asks_whether_it_may_keep_a_copy_waits_for_no_grant(world: World) -> None:
    world.keys[V] = key_of(held(V), over())
    request = requested(held=KEY_ID)
    world.server().handle([world.ask(request)])
    assert world.refusals(request) == [Refusal.NOT_GRANTED]
    world.keys[V] = key_of(held(V), over(), live("a2"))
    again = requested(held=KEY_ID)
    world.server().handle([world.ask(again)])
    assert delivered(world, again) == [DEK]


def test_a_copy_is_noted_before_it_is_looked_at_again(world: World) -> None:
    """What ends from then on finds it, and what ended before is seen."""
    noted: list[int] = []
    world.before[AnswerStep.LOOK_AGAIN] = lambda: noted.append(len(world.copies))
    world.server().handle([world.ask(requested())])
    assert noted == [1]
    (copy,) = world.copies
    assert (copy.client, copy.item, copy.key_id) == (NAME, V, KEY_ID)
    assert copy.until_s == pytest.approx(world.clock.now() + 3600, abs=0.01)


def test_what_cannot_be_recorded_is_not_delivered(world: World) -> None:
    world.trail_is_full = True
    request = requested()
    world.server().handle([world.ask(request)])
    assert world.refusals(request) == [Refusal.TRY_LATER]
    assert (world.trail, world.unsettled) == ([], [])
    assert "full" in world.tally.trouble
    world.trail_is_full = False
    world.server().handle([world.ask(request)])
    assert delivered(world, request) == [DEK]
    assert world.tally.trouble == ""


def test_what_needs_no_record_does_not_say_that_records_can_be_written(world: World) -> None:
    world.trail_is_full = True
    server = world.server()
    server.handle([world.ask(requested())])
    server.handle([])
    assert "full" in world.tally.trouble


def test_neither_is_a_refusal_told_that_cannot_be_recorded(world: World) -> None:
    world.trail_is_full = True
    world.keys[V] = key_of(held(V, state=KeyState.SUSPENDED), live())
    request = requested()
    world.server().handle([world.ask(request)])
    assert world.refusals(request) == [Refusal.TRY_LATER]


@pytest.mark.parametrize("ends_before", list(AnswerStep))
def test_ended_before_any_step_no_answer_is_without_its_record(
    world: World, ends_before: AnswerStep
) -> None:
    request = requested()
    world.ends_before = ends_before
    world.ask(request)
    with pytest.raises(EndedHere):
        world.server().handle(world.unsettled)
    assert len(world.sent) <= len(world.trail)
    # The broker gives it to another.
    world.server().handle(world.unsettled)
    assert DEK in delivered(world, request)
    assert set(acts(world)) == {Act.KEY_DELIVERED}
    assert len(world.sent) <= len(world.trail)
    assert world.unsettled == []


@pytest.mark.parametrize(
    "happens",
    [
        lambda it: it.keys.update({V: key_of(held(V, state=KeyState.SUSPENDED), live())}),
        lambda it: it.keys.update({V: key_of(held(V), over())}),
        lambda it: it.keys.update({V: key_of(released(held(V)), live())}),
        lambda it: it.known.update({NAME: replace(CLIENT, revoked=MARK)}),
        lambda it: it.known.update({NAME: replace(CLIENT, identities=(STRANGER.public,))}),
        lambda it: it.known.clear(),
    ],
    ids=["suspended", "detached", "gone", "revoked", "renewed", "unknown"],
)
@pytest.mark.parametrize("when", [AnswerStep.SEAL, AnswerStep.RECORDED, AnswerStep.LOOK_AGAIN])
def test_what_ends_while_it_is_recorded_is_not_delivered(
    world: World, happens: object, when: AnswerStep
) -> None:
    world.before[when] = lambda: happens(world)  # type: ignore[operator]
    request = requested()
    world.server().handle([world.ask(request)])
    assert delivered(world, request) == []
    assert world.refusals(request) == [Refusal.TRY_LATER]


def test_a_request_waits_for_its_grant_and_is_answered_once_it_is_there(world: World) -> None:
    world.keys[V] = key_of(held(V))
    request = requested()
    server = world.server()
    server.handle([world.ask(request)])
    assert (world.sent, len(world.unsettled), server.is_waited) == ([], 1, True)
    world.clock.advance(3)
    world.keys[V] = key_of(held(V), live())
    server.handle([])
    assert delivered(world, request) == [DEK]
    assert (world.unsettled, server.is_waited) == ([], False)


def test_one_whose_grant_does_not_come_is_refused_in_the_end(world: World) -> None:
    world.keys[V] = key_of(held(V))
    request = requested()
    server = world.server()
    server.handle([world.ask(request)])
    world.clock.advance(WAIT_S - 0.1)
    server.handle([])
    assert world.sent == []
    world.clock.advance(0.1)
    server.handle([])
    assert world.refusals(request) == [Refusal.NOT_GRANTED]
    assert acts(world) == [Act.KEY_REFUSED]


def test_so_many_may_wait_of_one_client_and_others_are_told_to_come_later(world: World) -> None:
    items = [volume(f"w{number}") for number in range(101)]
    requests = [requested(item) for item in items]
    world.server().handle([world.ask(it) for it in requests])
    assert [world.refusals(it) for it in requests].count([Refusal.TRY_LATER]) == 1
    assert world.tally.waiting == 100


def test_a_broken_record_is_told_once_however_long_its_request_waits(world: World) -> None:
    world.keys[V] = replace(key_of(held(V)), flaw="the grants' seal does not hold")
    request = requested()
    server = world.server()
    with capture_logs() as logged:
        server.handle([world.ask(request)])
        server.handle([])
    assert [it["detail"] for it in logged] == ["the grants' seal does not hold"]
    assert server.is_waited
    (record,) = world.trail
    assert (record.what, record.outcome) == (Act.RECORD_DISBELIEVED, ActOutcome.REFUSED)
    assert (record.reason, record.request, record.item, record.who.name) == (
        "the grants' seal does not hold", request.asked.id, V.ref, NAME,
    )  # fmt: skip


def test_refusals_without_a_grant_differ_in_nothing_but_what_was_asked(world: World) -> None:
    states = {
        "unknown": key_of(None),
        "elsewhere": key_of(held(V), live(node="another")),
        "suspended": key_of(held(V, state=KeyState.SUSPENDED)),
        "gone": key_of(released(held(V))),
    }
    seen = set()
    for found in states.values():
        world.keys[V] = found
        request = requested()
        server = world.server()
        server.handle([world.ask(request)])
        world.clock.advance(WAIT_S)
        server.handle([])
        (checked,) = world.answers_to(request)
        body = json.loads(world.sent[-1].answer.body)
        for part in ("id", "time"):
            del body[part]
        for part in ("request", "request_id"):
            del body["data"][part]
        seen.add((json.dumps(body), len(world.sent[-1].answer.body)))
        assert getattr(checked.answer, "reason", None) is Refusal.NOT_GRANTED
        world.clock = type(world.clock)()
    assert len(seen) == 1


def test_the_same_request_again_is_answered_again_and_recorded_again(world: World) -> None:
    request = requested()
    server = world.server()
    server.handle([world.ask(request)])
    server.handle([world.ask(request)])
    assert delivered(world, request) == [DEK, DEK]
    assert acts(world) == [Act.KEY_DELIVERED] * 2


def test_other_bytes_under_the_same_id_are_refused(world: World) -> None:
    first = requested()
    other = requested(id=first.asked.id, purpose="another")
    server = world.server()
    server.handle([world.ask(first)])
    server.handle([world.ask(other)])
    assert world.refusals(other)[-1:] == [Refusal.REUSED_ID]
    # It was no delivery either, by the trail.
    assert acts(world)[-1] is Act.KEY_REFUSED
    assert world.trail[-1].reason == Refusal.REUSED_ID
    assert delivered(world, first) == [DEK]


def test_of_two_that_come_together_under_one_id_the_first_has_it(world: World) -> None:
    first = requested()
    other = requested(id=first.asked.id, purpose="another")
    world.server().handle([world.ask(first), world.ask(other), world.ask(first)])
    assert delivered(world, first) == [DEK, DEK]
    assert world.refusals(other) == [Refusal.REUSED_ID]
    assert acts(world) == [Act.KEY_DELIVERED, Act.KEY_DELIVERED, Act.KEY_REFUSED]


@pytest.mark.parametrize("is_granted", [True, False])
def test_an_id_that_another_key_server_has_noted_meanwhile_is_not_answered_twice(
    world: World,
    is_granted: bool,
) -> None:
    if not is_granted:
        world.known[NAME] = replace(CLIENT, rights=replace(CLIENT.rights, projects=("p2",)))
    request = requested()
    theirs = requested(id=request.asked.id, purpose="another")
    is_first = world.is_first

    def then_another(asked: Sequence[tuple[str, Asked]]) -> list[bool | None]:
        said = is_first(asked)
        world.asked[f"{NAME} {request.asked.id}"] = theirs.asked.digest
        return said

    world.is_first = then_another  # type: ignore[method-assign]
    world.server().handle([world.ask(request)])
    assert delivered(world, request) == []
    assert world.refusals(request) == [Refusal.REUSED_ID]
    assert world.unsettled == []


class Away:
    """What the store was to say, had it not gone."""

    def done(self) -> bool:
        return True

    def result(self) -> Any:
        raise StoreUnavailable("gone")


@pytest.mark.parametrize("noting", ["note", "add"])
def test_nothing_leaves_before_ids_and_copies_are_noted(world: World, noting: str) -> None:
    request = requested()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world, noting, lambda _them: Away())
        with pytest.raises(StoreUnavailable):
            world.server().handle([world.ask(request)])
    assert world.sent == []
    assert len(world.unsettled) == 1
    world.server().handle(world.unsettled)
    assert delivered(world, request) == [DEK]


def test_a_request_that_waits_has_its_id_when_it_is_answered(world: World) -> None:
    world.keys[V] = key_of(held(V))
    waiting = requested()
    server = world.server()
    server.handle([world.ask(waiting)])
    assert world.asked == {}
    world.keys[V] = key_of(held(V), live())
    other = requested(id=waiting.asked.id, purpose="another")
    world.server().handle([world.ask(other)])
    assert delivered(world, other) == [DEK]
    world.clock.sleep(LOOK_S)
    server.handle([])
    assert delivered(world, waiting) == []
    assert world.refusals(waiting) == [Refusal.REUSED_ID]


def test_a_renewed_identity_gets_what_is_sealed_to_the_one_that_asked(world: World) -> None:
    world.known[NAME] = replace(CLIENT, identities=(STRANGER.public, IDENTITY.public))
    request = requested()
    world.server().handle([world.ask(request)])
    assert delivered(world, request) == [DEK]


def test_an_address_that_ends_the_connection_harms_its_own_client_alone(world: World) -> None:
    other = replace(CLIENT, name="compute-18")
    world.known[other.name] = other
    world.harmful = {f"{DIRECT_REPLY}.bad"}
    bad, good = requested(), requested()
    by_other = sign_request(asked_now(), IDENTITY, INSTALLATION, other.name)
    server = world.server()
    server.handle([
        world.ask(bad, reply_to=f"{DIRECT_REPLY}.bad"), world.ask(good),
        world.ask(by_other, user_id=other.name),
    ])  # fmt: skip
    assert [it.answer.request_id for it in world.sent] == [by_other.asked.id]
    assert (world.unsettled, world.tally.counts["dropped_harmful_address"]) == ([], 2)
    # It is not heard for a while; then it is a client as before.
    server.handle([world.ask(requested())])
    assert world.tally.counts["dropped_too_often"] == 1
    world.clock.advance(BARRED_S + 1.0)
    again = requested()
    server.handle([world.ask(again)])
    assert delivered(world, again) == [DEK]


def asked_now() -> KeyRequested:
    return KeyRequested(project_id=V.project, item=V, reply_to=DIRECT_REPLY, time=AT)


def test_what_comes_does_not_have_those_that_wait_looked_at_each_time(world: World) -> None:
    waiting = volume("not-yet")
    looks: list[int] = []
    find, server = world.find, world.server()
    world.find = lambda asked: (looks.append(len(asked)), find(asked))[1]  # type: ignore[method-assign, func-returns-value]
    server.handle([world.ask(requested(waiting))])
    del looks[:]
    for _ in range(5):
        server.handle([world.ask(requested())])
    # Each for its own, and once more before it leaves.
    assert looks == [1] * 10
    world.clock.advance(LOOK_S)
    server.handle([world.ask(requested())])
    assert looks[10:] == [2, 1]


def without_kek(world: World, theirs: Item) -> Callable[[], None]:
    """Have a record be under a KEK that is not on this host; return what brings it there."""
    find = world.find

    def found(asked: Sequence[Asked]) -> list[FoundKey]:
        if theirs in [it.item for it in asked]:
            raise UnknownKek("under a KEK that is missing", "k2")
        return find(asked)

    world.find = found  # type: ignore[method-assign]
    return lambda: setattr(world, "find", find)


def test_a_record_under_a_kek_that_is_not_here_yet_is_its_own_clients_trouble(world: World) -> None:
    theirs = volume("theirs")
    world.keys[theirs] = world.keys[V]
    come = without_kek(world, theirs)
    early, mine = requested(theirs), requested()
    server = world.server()
    with capture_logs() as logged:
        server.handle([world.ask(early), world.ask(mine)])
        server.handle([])
    assert delivered(world, mine) == [DEK]
    assert (world.refusals(early), server.is_waited) == ([], True)
    # Once, however long it waits; and it is no record that is not believed.
    assert [it["event"] for it in logged] == ["a KEK is missing"]
    assert acts(world) == [Act.KEY_DELIVERED]
    come()
    server.handle([])
    assert (delivered(world, early), server.is_waited) == ([DEK], False)


def test_that_a_kek_is_missing_tells_nobody_whether_there_is_an_item(world: World) -> None:
    theirs = volume("theirs")
    world.keys[theirs] = key_of(held(theirs))
    without_kek(world, theirs)
    rightless = requested(theirs, project_id="another")
    told = []
    for item in (theirs, volume("no-such")):
        waits, holds = requested(item), requested(item, held=KEY_ID)
        server = world.server()
        server.handle([world.ask(waits), world.ask(holds)])
        world.clock.advance(WAIT_S)
        server.handle([])
        told.append([world.refusals(waits), world.refusals(holds)])
    assert told == 2 * [[[Refusal.NOT_GRANTED], [Refusal.NOT_GRANTED]]]
    world.known[NAME] = replace(CLIENT, rights=replace(RIGHTS, projects=("p1",)))
    world.server().handle([world.ask(rightless)])
    assert world.refusals(rightless) == [Refusal.NOT_GRANTED]


def test_who_has_had_the_key_does_not_give_it_up_over_a_missing_kek(world: World) -> None:
    world.server().handle([world.ask(requested())])
    without_kek(world, V)
    for key_id, told in ((KEY_ID, Refusal.TRY_LATER), (OTHER_ID, Refusal.NOT_GRANTED)):
        holds = requested(held=key_id)
        world.server().handle([world.ask(holds)])
        assert world.refusals(holds) == [told]


def test_a_client_to_whose_key_nothing_can_be_sealed_is_its_own_trouble(world: World) -> None:
    """Its X25519 half is a point of low order: who enrolled it did not see that."""
    low = PublicIdentity(IDENTITY.public.sign, IDENTITY.public.seal[:-32] + bytes(32))
    world.known[NAME] = replace(CLIENT, identities=(low,))
    request = requested()
    world.server().handle([world.ask(request)])
    assert world.unsettled == []
    assert [it.answer.body.count(b"try-later") for it in world.sent] == [1]
