"""What has ended, on its way to the clients that may hold copies: none is lost, none believed."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import pytest

from kmworker.delegation.checking import RevokedKey, check_revoked
from kmworker.domain.event import Detach
from kmworker.domain.keys import KeyChanged, KeyEvent, LastChange, Operator
from kmworker.domain.message import Delivery, Original, Outgoing
from kmworker.domain.model import Cause, KeyReleased, KeyState
from kmworker.keyserver.telling import RevokeStep, Telling
from kmworker.wire.answers.bodies import Revoked
from kmworker.wire.answers.messages import Revoking
from kmworker.wire.ended import GRANT_ENDED, announce_end, read_ended
from kmworker.wire.key_changes import announce_key
from kmworker.wire.releases import announce_release
from tests.kit.builders import held, released
from tests.unit.keyserver.world import (
    AT,
    CLIENT,
    ENROLMENT,
    KEY_ID,
    MARK,
    NAME,
    SIGNER,
    EndedHere,
    V,
    World,
    key_of,
    live,
    over,
    own_queues,
    requested,
)

CAUSE: Final = Cause("off", "/nova", "volume-detached")
DETACH: Final = Detach(CAUSE, V, "a1")


class Ending(World):
    """A world in which a copy was delivered, and a queue of what has ended."""

    def __init__(self) -> None:
        super().__init__()
        self.server().handle([self.ask(requested())])
        assert [it.item for it in self.copies] == [V]
        self.sent.clear()
        self.waiting: list[Delivery] = []
        self.ends_before_step: RevokeStep | None = None
        self._number = 0

    def telling(self) -> Telling:
        """Return a key server that has just started."""
        it: Any = self
        return Telling(
            queue=EndedQueue(self), answers=it, store=it, copies=it, own_queues=own_queues,
            clock=self.clock, tally=self.tally, on_step=self._at,
        )  # fmt: skip

    def _at(self, step: RevokeStep) -> None:
        if step is self.ends_before_step:
            self.ends_before_step = None
            raise EndedHere

    def say(self, message: Outgoing) -> None:
        """Let a message come to the key servers."""
        self._number += 1
        original = Original(message.body, message.routing_key, message.properties)
        self.waiting.append(Delivery(original, self._number, 1, 0.0))

    def told(self, revoked: Sequence[tuple[str, str]] | None = None) -> Any:
        if revoked is not None:
            return super().told(revoked)
        return [self._checked(it) for it in self.sent[:: len(own_queues(NAME))]]

    def _checked(self, reply: Any) -> RevokedKey:
        checked = check_revoked(
            reply.answer.body, reply.answer.signature, ENROLMENT, seen=None,
            now_s=self.clock.now(),
        ).answer  # fmt: skip
        assert isinstance(checked, RevokedKey)
        return checked


class EndedQueue:
    """The queue, of which one key server has what is not acknowledged."""

    def __init__(self, world: Ending) -> None:
        self._world = world

    def open(self) -> None:
        """Connect: nothing of it is modelled."""

    def receive(self, limit: int) -> list[Delivery]:
        return self._world.waiting[:limit]

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        tags = {it.tag for it in deliveries}
        self._world.waiting = [it for it in self._world.waiting if it.tag not in tags]

    def tick(self) -> None:
        """Keep alive: nothing of it is modelled."""

    def close(self) -> None:
        """Leave: nothing of it is modelled."""


@pytest.fixture
def world() -> Ending:
    return Ending()


def detached() -> Outgoing:
    return announce_end(DETACH, "/kmworker", "km.revocations", AT)


def changed(event: KeyEvent, state: KeyState) -> Outgoing:
    key = key_of(held(V)).key
    assert key is not None
    change = LastChange(event, AT, Operator("alice", "a drill"), state, None, ())
    record = replace(key, version=key.version + 1, state=state, changed=change)
    return announce_key(KeyChanged(V.project, record), "/kmworker", "km.keys")


def gone() -> Outgoing:
    return announce_release(KeyReleased(V, KEY_ID, 0, CAUSE, AT), "/kmworker", "km.assignments")


def test_a_detachment_is_told_in_every_queue_of_its_client(world: Ending) -> None:
    world.keys[V] = key_of(held(V), over())
    world.say(detached())
    world.telling().tell(SIGNER)
    assert [it.queue for it in world.sent] == list(own_queues(NAME))
    (said,) = world.told()
    assert said.revoked == Revoked(V.project, V, "a1", KEY_ID, Revoking.DETACHED)
    assert world.waiting == []


def test_suspension_and_release_are_told(world: Ending) -> None:
    world.keys[V] = key_of(held(V, state=KeyState.SUSPENDED), live())
    world.say(changed(KeyEvent.SUSPENDED, KeyState.SUSPENDED))
    world.telling().tell(SIGNER)
    world.keys[V] = key_of(released(held(V)), live())
    world.say(gone())
    world.telling().tell(SIGNER)
    assert [it.revoked.cause for it in world.told()] == [Revoking.SUSPENDED, Revoking.RELEASED]


@pytest.mark.parametrize("end", [detached, gone], ids=["detached", "released"])
def test_an_old_message_that_is_put_back_ends_nothing(world: Ending, end: Any) -> None:
    world.say(end())
    world.telling().tell(SIGNER)
    assert world.sent == []
    assert world.waiting == []


@pytest.mark.parametrize("step", [RevokeStep.FIND, RevokeStep.SEND, RevokeStep.SETTLE])
def test_wherever_one_key_server_ends_another_tells_it(world: Ending, step: RevokeStep) -> None:
    world.keys[V] = key_of(held(V), over())
    world.say(detached())
    world.ends_before_step = step
    with pytest.raises(EndedHere):
        world.telling().tell(SIGNER)
    assert len(world.waiting) == 1
    world.telling().tell(SIGNER)
    assert world.waiting == []
    # Twice at most, and then with one id, by which the client drops the second.
    assert {it.id for it in world.told()} == {world.told()[0].id}
    assert len(world.told()) == (2 if step is RevokeStep.SETTLE else 1)


def test_what_is_no_such_message_keeps_none_from_being_told(world: Ending) -> None:
    world.keys[V] = key_of(held(V), over())
    world.say(Outgoing("", "grant-ended.p1", b"{}", {}))
    world.say(Outgoing("", "key-resumed.p1", changed(KeyEvent.RESUMED, KeyState.ACTIVE).body, {}))
    world.say(detached())
    world.telling().tell(SIGNER)
    assert len(world.told()) == 1
    assert world.tally.counts["dropped_unreadable"] == 2
    assert world.waiting == []


def test_a_client_that_is_said_to_be_revoked_and_is_not_keeps_its_copies(world: Ending) -> None:
    world.revoked = [(NAME, "2")]
    world.telling().tell(SIGNER)
    assert (world.revoked, world.told()) == ([], [])


def test_a_revoked_client_is_told_of_all_its_copies(world: Ending) -> None:
    world.known[NAME] = replace(CLIENT, version=2, revoked=MARK)
    world.revoked = [(NAME, "2")]
    world.ends_before_step = RevokeStep.SETTLE
    with pytest.raises(EndedHere):
        world.telling().tell(SIGNER)
    world.telling().tell(SIGNER)
    assert world.revoked == []
    assert [it.revoked.cause for it in world.told()] == 2 * [Revoking.CLIENT_REVOKED]
    assert len({it.id for it in world.told()}) == 1


def test_what_says_that_an_attachment_is_over_says_so_alike_each_time() -> None:
    first, again = detached(), announce_end(DETACH, "/kmworker", "km.revocations", "2026-12-01Z")
    assert first.properties["message_id"] == again.properties["message_id"]
    assert first.routing_key == f"{GRANT_ENDED}.{V.project}"
    said = read_ended(Original(first.body, first.routing_key, {}))
    assert (said.item, said.attachment, said.key_id) == (V, "a1", None)
    assert json.loads(first.body)["data"]["item"] == {"kind": "volume", "id": "v1"}
