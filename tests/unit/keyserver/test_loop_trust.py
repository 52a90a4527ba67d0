"""The loop: when a key server answers, and when it waits."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from kmworker.clock import StoreClock
from kmworker.delegation.trust_list import HandedOut
from kmworker.domain.message import Delivery
from kmworker.errors import PermanentError, Reason
from kmworker.keyserver.loop import FOLLOW_S, KeyServer
from tests.kit.simulator.clock import SettableClock
from tests.unit.keyserver.world import INSTALLATION, SIGNER, World, requested

LIST = HandedOut("root", "text", "signature")


@dataclass
class Around:
    """What a key server has around it, as far as its loop needs it."""

    world: World
    to_come: list[Delivery] = field(default_factory=list)
    list_is_forged: bool = False
    generation: int = 1
    installation: str = INSTALLATION

    def admit(self) -> str:
        return "/kmworker"

    def follow_keyring(self) -> None:
        return

    def time_s(self) -> float:
        return self.world.clock.now()

    def trust(self) -> HandedOut:
        if self.list_is_forged:
            raise PermanentError(Reason.INTEGRITY, "the list is altered")
        return LIST

    def open(self) -> None:
        return

    def tick(self) -> None:
        return

    def write(self, *_said: object) -> None:
        return

    def tell(self, _signer: object) -> None:
        return

    def receive(self, limit: int, timeout_s: float) -> list[Delivery]:
        del limit, timeout_s
        found, self.to_come = self.to_come, []
        return found


@pytest.fixture
def around() -> Around:
    return Around(World())


@pytest.fixture
def server(around: Around) -> KeyServer:
    # It is as much of each as a turn needs.
    it: Any = around
    clock: Any = SettableClock()
    return KeyServer(
        queue=it, store=it, trail=it, answering=around.world.server(), telling=it,
        signer_for=lambda *_: SIGNER, reporting=it, clock=StoreClock(clock),
        tally=around.world.tally,
    )  # fmt: skip


def test_by_a_trust_list_that_does_not_hold_nothing_is_answered_at_any_turn(
    around: Around, server: KeyServer
) -> None:
    clock = server._clock
    around.to_come = [around.world.ask(requested())]
    server.turn()
    assert len(around.world.sent) == 1
    around.list_is_forged = True
    clock.sleep(FOLLOW_S)
    around.to_come = [around.world.ask(requested())]
    for _ in range(3):
        # It waits for less than the list is good for.
        with pytest.raises(PermanentError):
            server.turn()
        clock.sleep(FOLLOW_S / 2)
    assert len(around.world.sent) == 1
    around.list_is_forged = False
    server.turn()
    assert len(around.world.sent) == 2
