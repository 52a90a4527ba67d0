"""Older records, put back: a key server that has seen what came after them believes none."""

from dataclasses import replace

import pytest

from kmworker.delegation.checking import DeliveredKey
from kmworker.domain.model import KeyState
from kmworker.keyserver.answering import Answering
from kmworker.keyserver.newest import NewestSeen
from kmworker.wire.answers.messages import Refusal
from tests.kit.builders import held, volume
from tests.unit.keyserver.world import CLIENT, MARK, NAME, V, World, key_of, live, over, requested


@pytest.fixture
def world() -> World:
    return World()


def remembering(world: World, most: int = 100) -> Answering:
    return world.server(NewestSeen(world, most))  # type: ignore[arg-type]  # it is as much of it


def is_delivered(world: World, server: Answering) -> bool:
    request = requested()
    server.handle([world.ask(request)])
    return any(isinstance(it.answer, DeliveredKey) for it in world.answers_to(request))


def test_a_client_that_was_revoked_stays_so_whatever_is_put_back(world: World) -> None:
    server = remembering(world)
    assert is_delivered(world, server)
    world.known[NAME] = replace(CLIENT, version=2, revoked=MARK)
    assert not is_delivered(world, server)
    world.known[NAME] = CLIENT
    assert not is_delivered(world, server)
    assert world.tally.counts["dropped_unknown_client"] == 1
    # Enrolled anew, which is a version of its own.
    world.known[NAME] = replace(CLIENT, version=3)
    assert is_delivered(world, server)


def test_a_key_that_was_suspended_stays_so_until_it_is_resumed(world: World) -> None:
    server = remembering(world)
    first = world.keys[V]
    assert first.key is not None
    suspended = replace(first.key, state=KeyState.SUSPENDED, version=2)
    known = replace(held(V, state=KeyState.SUSPENDED), key=suspended)
    world.keys[V] = replace(first, key=suspended, state=known)
    assert not is_delivered(world, server)
    world.keys[V] = first
    request = requested()
    server.handle([world.ask(request)])
    assert world.refusals(request) == [Refusal.TRY_LATER]
    world.keys[V] = replace(first, key=replace(first.key, version=3))
    assert is_delivered(world, server)


def test_an_attachment_that_was_over_stays_over_and_others_begin(world: World) -> None:
    server = remembering(world)
    assert is_delivered(world, server)
    world.keys[V] = key_of(held(V), over("a1"))
    server.handle([world.ask(requested())])
    world.keys[V] = key_of(held(V), live("a1"))
    assert not is_delivered(world, server)
    # Also where it is beside one that is good: the record is what it was before.
    world.keys[V] = key_of(held(V), live("a1"), live("a2"))
    assert not is_delivered(world, server)
    world.keys[V] = key_of(held(V), over("a1"), live("a2"))
    assert is_delivered(world, server)


def test_a_new_life_begins_with_grants_of_its_own(world: World) -> None:
    server = remembering(world)
    world.keys[V] = key_of(held(V), over("a1"))
    server.handle([world.ask(requested())])
    world.keys[V] = key_of(held(V), live("b1"))
    assert is_delivered(world, server)


def test_what_was_not_seen_for_long_is_forgotten_first(world: World) -> None:
    server = remembering(world, most=2)
    for name in ("v2", "v3"):
        world.keys[volume(name)] = key_of(held(volume(name)), over(f"of-{name}"))
    world.keys[V] = key_of(held(V), over("a1"))
    server.handle([world.ask(requested(it)) for it in (V, volume("v2"), volume("v3"))])
    world.keys[V] = key_of(held(V), live("a1"))
    assert is_delivered(world, server)
