"""The key server's loop: what it waits for, what ends it, and what it says of itself."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from kmworker.clock import StoreClock
from kmworker.delegation.answers import AnswerSigner
from kmworker.delegation.trust_list import HandedOut
from kmworker.domain.message import Confirm, Delivery
from kmworker.errors import (
    BrokerUnavailable,
    NotFound,
    SetupError,
    StoreUnavailable,
    TransientError,
    Untrusted,
)
from kmworker.keyserver.loop import TICK_S, KeyServer
from kmworker.keyserver.ports import Reply
from kmworker.ports import Pending
from tests.unit.keyserver.world import INSTALLATION, SIGNER, World, requested

HANDED_OUT = HandedOut("root", "text", "signature")


class Servers(World):
    """A world whose servers may be away."""

    def __init__(self) -> None:
        super().__init__()
        self.handed_out: HandedOut | None = HANDED_OUT
        self.away: dict[str, Exception] = {}
        self.happened: list[str] = []
        self.reports: list[tuple[str, Mapping[str, Any]]] = []
        self.signers: list[HandedOut] = []
        self.turns = 0
        self._is_closed = False
        self._given: set[tuple[int, int]] = set()
        self.on_turn: Callable[[int], None] = lambda _turn: None
        self.loop: KeyServer | None = None

    def _at(self, what: str) -> None:
        self.happened.append(what)
        if what in self.away:
            raise self.away[what]

    def admit(self) -> str:
        self._at("admit")
        return "/kmworker"

    def follow_keyring(self) -> None:
        self._at("follow")

    def trust(self) -> HandedOut | None:
        self._at("trust")
        return self.handed_out

    def time_s(self) -> float:
        return self.clock.now()

    def open(self) -> None:
        self._at("open")
        if self._is_closed:
            self._is_closed = False
            self.generation += 1

    def receive(self, limit: int, timeout_s: float) -> list[Delivery]:
        self.turns += 1
        self.on_turn(self.turns)
        self.clock.advance(timeout_s)
        fresh = [it for it in self.unsettled if (self.generation, it.tag) not in self._given]
        self._given |= {(self.generation, it.tag) for it in fresh[:limit]}
        return fresh[:limit]

    def tick(self) -> None:
        self.happened.append("tick")

    def close(self) -> None:
        self.happened.append("close")
        self._is_closed = True

    def tell(self, signer: AnswerSigner) -> None:
        assert signer is SIGNER
        self._at("tell")

    def write(self, state: str, fields: Mapping[str, Any]) -> None:
        self.reports.append((state, fields))

    def signer_for(self, handed_out: HandedOut, installation: str, source: str) -> AnswerSigner:
        self._at("sign")
        assert (installation, source) == (INSTALLATION, "/kmworker")
        self.signers.append(handed_out)
        return SIGNER

    def run(self, turns: int) -> None:
        """Let it take so many turns, or try so often."""
        it: Any = self
        answering = self.server()
        answering.signer = None
        loop = KeyServer(
            queue=it, store=it, trail=it, answering=answering, telling=it,
            signer_for=self.signer_for,
            reporting=it, clock=StoreClock(self.clock), tally=self.tally,
        )  # fmt: skip
        self.loop = loop
        tries = 0
        inner = loop.turn

        def turn() -> None:
            nonlocal tries
            tries += 1
            if tries >= turns:
                loop.stop()
            inner()

        loop.turn = turn  # type: ignore[method-assign]
        loop.run()


@pytest.fixture
def world() -> Servers:
    return Servers()


def test_it_answers_and_says_so(world: Servers) -> None:
    request = requested()
    world.ask(request)
    world.run(3)
    assert world.answers_to(request)
    assert world.reports[-1][0] == "stopped"
    assert world.reports[-1][1]["delivered"] == 1
    assert world.happened[-2:] == ["close", "close"]


def test_connections_are_kept_alive_each_second_however_much_is_asked(world: Servers) -> None:
    seen: dict[float, int] = {}

    def ask(_turn: int) -> None:
        world.ask(requested())
        seen[world.clock.monotonic()] = world.happened.count("tick")

    world.on_turn = ask
    world.run(40)
    (first, before), *_between, (last, after) = seen.items()
    due = (last - first) / TICK_S
    # The requests' connections, and the trail's.
    assert due - 1 <= (after - before) / 2 <= due + 1
    assert TICK_S <= 1.0


@pytest.mark.parametrize(
    ("what", "error"),
    [
        ("admit", StoreUnavailable("away")),
        ("admit", NotFound("no worker has used it yet")),
        ("open", BrokerUnavailable("away")),
        ("follow", StoreUnavailable("away")),
        ("sign", Untrusted("held until yesterday")),
    ],
    ids=["store", "unused store", "broker", "store later", "list is over"],
)
def test_what_is_away_is_waited_for(world: Servers, what: str, error: Exception) -> None:
    request = requested()
    world.ask(request)
    world.away[what] = error
    world.run(2)
    assert not world.sent
    world.away.clear()
    world.run(2)
    assert world.answers_to(request)


def test_while_it_waits_it_is_seen_to_live_and_says_why(world: Servers) -> None:
    world.away["open"] = BrokerUnavailable("no route to host")
    world.run(6)
    waiting = [fields["trouble"] for state, fields in world.reports if state == "waiting"]
    assert set(waiting) == {"BrokerUnavailable: no route to host"}
    # Its pauses grow beyond what a dead one is told by.
    paused_s = 1 + 2 + 4 + 8 + 10
    assert len(waiting) >= paused_s / 5


def test_what_it_waited_for_is_not_said_any_more_once_it_is_there(world: Servers) -> None:
    world.away["open"] = BrokerUnavailable("no route to host")

    def write(state: str, fields: Mapping[str, Any]) -> None:
        world.reports.append((state, fields))
        world.away.clear()

    world.write = write  # type: ignore[method-assign]
    world.run(3)
    assert [fields["trouble"] for _state, fields in world.reports] == [
        "BrokerUnavailable: no route to host", "",
    ]  # fmt: skip


def test_a_store_that_was_away_is_admitted_again(world: Servers) -> None:
    def lose(turn: int) -> None:
        if turn == 1:
            raise StoreUnavailable("away")

    world.on_turn = lose
    world.run(3)
    assert world.happened.count("admit") == 2


def test_what_was_taken_goes_back_when_only_the_way_of_answers_is_lost(world: Servers) -> None:
    """The connection that requests come by is up: nobody else would ever be given them."""
    request = requested()
    world.ask(request)
    send = world.send

    def lose(replies: Sequence[Reply]) -> Pending[list[Confirm]]:
        world.send = send  # type: ignore[method-assign]
        raise BrokerUnavailable("the publisher's connection is gone")

    world.send = lose  # type: ignore[method-assign]
    world.run(3)
    assert world.answers_to(request)
    assert world.unsettled == []


def test_after_whatever_went_wrong_it_looks_at_its_keys_before_it_answers(world: Servers) -> None:
    def lose(turn: int) -> None:
        if turn == 1:
            raise BrokerUnavailable("away")

    world.on_turn = lose
    world.run(3)
    assert world.happened.count("admit") == 1
    assert world.happened.count("trust") == 2


def test_without_a_trust_list_it_waits_for_one(world: Servers) -> None:
    world.handed_out = None
    world.ask(requested())
    world.run(2)
    assert not world.sent
    assert world.signers == []


def test_a_list_is_taken_up_while_it_runs(world: Servers) -> None:
    other = HandedOut("root", "another", "signature")

    def publish(turn: int) -> None:
        if turn == 2:
            world.handed_out = other

    world.on_turn = publish
    world.run(15)
    assert world.signers[0] == HANDED_OUT
    assert world.signers[-1] == other


def test_a_list_that_lacks_its_keys_ends_it(world: Servers) -> None:
    world.away["sign"] = SetupError("list 3 does not have this key server's key")
    with pytest.raises(SetupError):
        world.run(2)
    assert world.reports[-1][0] == "stopped"


def test_a_report_that_cannot_be_written_stops_nothing(world: Servers) -> None:
    def fail(_state: str, _fields: Mapping[str, Any]) -> None:
        raise TransientError("away")

    world.write = fail  # type: ignore[assignment,method-assign]
    request = requested()
    world.ask(request)
    world.run(2)
    assert world.answers_to(request)


def test_what_waited_on_a_connection_that_is_lost_comes_again(world: Servers) -> None:
    world.keys.clear()
    request = requested()
    world.ask(request)

    def reconnect(turn: int) -> None:
        if turn == 2:
            world._is_closed = True

    world.on_turn = reconnect
    world.run(4)
    assert world.tally.waiting == 1
