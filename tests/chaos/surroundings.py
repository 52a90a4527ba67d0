"""What administrators and machines do to an installation, and what parties do beside it."""

import sys
from collections.abc import Callable
from contextlib import ExitStack
from random import Random
from typing import Any, Final, Protocol

from tests.chaos.fault import Fault, Lift
from tests.chaos.ground import Ground
from tests.chaos.replicas import hand_over
from tests.kit.parties.party import Party, Place
from tests.kit.parties.producers import (
    Flood,
    ForeignFlood,
    HotSource,
    LargeBodies,
    ManyProjects,
    Poison,
)
from tests.kit.parties.readers import FullSubscriber, UnreadReplies
from tests.kit.polling import until
from tests.kit.servers import FAIR, Weather

PATIENCE_S: Final = 300.0
HURRIED: Final = [sys.executable, "-m", "tests.chaos.hurried_worker"]
SKEWED: Final = b"this machine's clock is not the store's"
# As public deployments have it, for all queues but the broker's own, only faster.
CATCH_ALL: Final = "^(?!amq\\.).*"
FLEETING: Final = {"message-ttl": 100, "expires": 1_000}
FULL: Final = {"max-length": 1, "overflow": "reject-publish"}
ABOVE_OURS: Final = 101
EXCHANGES: Final = ("events", "assignments", "keys", "dead")


def _hurry(ground: Ground, draw: Random) -> Lift:
    """Leave nobody but one in a hurry: it looks after all that waits, too."""
    killed = ground.awake()
    for worker in killed:
        ground.kill_worker(worker)
    hurried = ground.add_worker(HURRIED)
    until(lambda: SKEWED in hurried.log.read_bytes(), "the skew is told", within_s=PATIENCE_S)

    def lift() -> None:
        ground.kill_worker(hurried)
        for _ in killed:
            ground.add_worker()

    return lift


def _catch_all(ground: Ground, draw: Random) -> Lift:
    assert ground.broker is not None
    stack = ExitStack()
    kept = ground.end.ready("dead")
    policy = ground.broker.policy(ground.namespace, CATCH_ALL, FLEETING, priority=0)
    stack.enter_context(policy)

    def lift() -> None:
        stack.close()
        left = ground.end.ready("dead")
        assert left >= kept, f"of {kept} dead letters, {left} are left"

    return lift


def _fill_dead_letters(ground: Ground, draw: Random) -> Lift:
    assert ground.broker is not None
    stack = ExitStack()
    pattern = f"^{ground.namespace}\\.dead$"
    stack.enter_context(ground.broker.policy(ground.namespace, pattern, FULL, priority=ABOVE_OURS))
    return stack.close


def _delete_exchange(ground: Ground, draw: Random) -> Lift:
    broker = ground.broker
    assert broker is not None
    with broker.admin(ground.namespace) as connection:
        name = f"{ground.namespace}.{draw.choice(EXCHANGES)}"
        connection.channel().exchange_delete(name)

    def lift() -> None:
        # Nobody is to announce anything before all who want to hear of it are bound again.
        ground.broker_line.change(Weather(stalled=True))
        broker.define(ground.namespace)
        ground.end.bind()
        ground.broker_line.change(FAIR)

    return lift


class Joining(Protocol):
    """One who comes and goes."""

    def __init__(self, place: Place, draw: Random) -> None: ...

    def start(self) -> None: ...

    def finish(self) -> None: ...


def _joins(kind: type[Joining]) -> Callable[[Ground, Random], Lift]:
    def inflict(ground: Ground, draw: Random) -> Lift:
        party = kind(ground, draw)
        if isinstance(party, Party):
            ground.parties.append(party)
        party.start()
        return party.finish

    return inflict


def _party(name: str, says: str, kind: type[Joining], **more: Any) -> Fault:
    more = {"on": name, "lasts_s": (1, 5), **more}
    return Fault(
        name, says, inflict=_joins(kind), needs_broker=True, stops_all=False, is_party=True, **more
    )


PARTIES: Final = [
    _party("flood", "a flood of events that wait, beyond what its project may have", Flood),
    _party("foreign-flood", "a flood of events that wait for another tenant's volumes",
           ForeignFlood),
    _party("hot-source", "a crowd waits for one volume, which then comes", HotSource),
    _party("many-projects", "a volume in each of many projects", ManyProjects),
    _party("poison", "headers of 62 KB that grow when they are written", Poison),
    _party("large-bodies", "bodies of 16 MiB, and of as much as the broker takes", LargeBodies),
    _party("full-subscriber", "a subscriber's full queue refuses assignments", FullSubscriber,
           on="broker", lasts_s=(3, 10)),
    _party("unread-replies", "dashboards ask for all there is, and never read", UnreadReplies,
           on="store", lasts_s=(3, 20)),
]  # fmt: skip
SURROUNDINGS: Final = [
    Fault("catch-all-policy", "a policy for all queues: message-ttl and expires", "broker",
          _catch_all, (6, 15), needs_broker=True, stops_all=False),
    Fault("dead-letters-full", "the queue of dead letters is full, and refuses more", "broker",
          _fill_dead_letters, (3, 10), needs_broker=True, stops_all=False),
    Fault("exchange-deleted", "an exchange is deleted, and declared again", "broker line",
          _delete_exchange, (1, 5), needs_broker=True),
    Fault("primary-hands-over", "a replica becomes primary, the old one its replica", "store",
          hand_over, needs_broker=True, stops_all=False),
    Fault("worker-ahead", "the only worker's clock is two hours ahead", "worker",
          _hurry, (5, 20), stops_all=False),
]  # fmt: skip
