"""A whole installation in memory: broker, store and clock last, worker processes do not.

All parts that decide are the real ones, and so is the bus: `RabbitBus` on simulated
connections. The store is `RedisStore` over fakeredis, with its real scripts.
"""

import json
import uuid
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, Final, cast

import fakeredis
import pytest

from kmworker.anchor import Anchor
from kmworker.bus.rabbit import RabbitBus
from kmworker.clock import rfc3339
from kmworker.crypto import Keyring, KeyringVault
from kmworker.crypto.kek import Kek
from kmworker.model import Item
from kmworker.path import BatchPath, Exchanges, Step
from kmworker.plan import Fresh
from kmworker.policy import Policy, load_policy
from kmworker.ports import Reports, Store
from kmworker.reporting import Reporter
from kmworker.settings import BrokerSettings
from kmworker.store.admission import Admission
from kmworker.store.history import History
from kmworker.store.names import Names
from kmworker.store.redis_store import RedisStore
from kmworker.store.reports import RedisReports
from kmworker.tally import Tally
from kmworker.waiting import Sweeper
from kmworker.worker import Worker
from tests.fake_client import FakeClient
from tests.simulation.broker import Broker
from tests.simulation.bus import TroubledBus
from tests.simulation.clock import SettableClock
from tests.simulation.events import Sent
from tests.simulation.host import Host
from tests.simulation.ledger import Ledger
from tests.simulation.limits import Limits
from tests.simulation.manner import Manner
from tests.simulation.poison import Poisoned
from tests.simulation.steps import Crash, Fault
from tests.simulation.store import NoReports, SimulatedClient, SteppedReports, load_scripts
from tests.simulation.troubles import Troubled, TroubledStore, Troubles
from tests.simulation.wire import Message

__all__ = ["Installation", "Limits", "Process"]

SHIPPED_POLICY: Final = Path(__file__).parents[2] / "config" / "policy.toml"
EVERY_ASSIGNMENT: Final = "subscriber"
SETTINGS: Final = BrokerSettings(url="amqp://simulated//", namespace="kmworker")


@dataclass(slots=True)
class Process:
    """A worker process: gone with everything in it when it dies."""

    worker: Worker
    bus: TroubledBus
    path: BatchPath
    tally: Tally
    troubles: Troubles
    host: Host
    steps: list[Step] = field(default_factory=list)

    @property
    def is_at_work(self) -> bool:
        """Say whether any events are under way."""
        return bool(self.worker._handling)

    def turn(self, times: int = 1) -> None:
        """Go once around the worker's loop."""
        for _ in range(times):
            self.worker._turn_or_pause()

    def run(self) -> None:
        """Run until it would wait for events, then let it stop in good order."""
        self.host.when_idle = lambda _seconds: self.worker.stop()
        self.worker.run()

    def run_into_crash(self) -> None:
        """Run until the crash that lies ahead, which must be there, and die of it."""
        with pytest.raises(Crash):
            self.run()
        self.die()

    def die(self) -> None:
        """End without a word: what a killed process leaves behind is its connections' end."""
        self.host.cut()


class Installation:
    """What survives any process, and everything that can be seen of it from outside."""

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        policy: Policy | None = None,
        kek: bytes = b"k" * 32,
        requeue_at_front: bool = False,
        manner: Manner | None = None,
        reports: bool = True,
    ) -> None:
        self.limits = limits or Limits()
        self.policy = policy or _shipped_policy()
        self.clock = SettableClock()
        self.broker = Broker(self.clock, requeue_at_front=requeue_at_front, manner=manner)
        self.broker.bind(EVERY_ASSIGNMENT, self.broker.topology.assignments, "#")
        self.server = fakeredis.FakeServer()
        self.redis: Any = FakeClient(server=self.server)
        load_scripts(self.redis)
        self.names = Names("km")
        self.ledger = Ledger(self.broker, self.redis, self.names)
        self.lost: set[Item] = set()
        """Items whose records someone has deleted."""
        self.poison: dict[str, BaseException] = {}
        """Items whose events are poison, and what happens to whoever handles one."""
        key = Kek(kek, rfc3339(self.clock.now()))
        self.vault = KeyringVault(Keyring(key.kek_id, {key.kek_id: key}))
        self._reports: Reports = (
            RedisReports(self.redis, self.names, self.clock.monotonic) if reports else NoReports()
        )
        self._ids = count(1)
        self._workers = count(1)

    # --- processes ----------------------------------------------------------------

    def process(
        self,
        *,
        troubles: Troubles | None = None,
        policy: Policy | None = None,
        on_step: Callable[[Step], None] = lambda _step: None,
        faults: Mapping[int, Fault] | None = None,
    ) -> Process:
        """Start a worker process; `Process.turn` or `Process.run` make it work."""
        troubles = troubles or Troubles()
        limits, clock, broker = self.limits, self.clock, self.broker
        worker_id = f"worker-{next(self._workers)}"
        steps: list[Step] = []

        def stepped(step: Step) -> None:
            steps.append(step)
            on_step(step)

        host = Host(broker, troubles, faults)
        host.forget_scripts = self.forget_scripts
        real = RabbitBus(
            SETTINGS,
            prefetch=3 * limits.batch_max,
            name=worker_id,
            connect=host.connect,
            monotonic=clock.monotonic,
            sleep=clock.advance,
            wait_for_any=host.wait_for_any,
        )
        bus = TroubledBus(real, host, troubles)
        client = SimulatedClient(self.server, host.steps, self.ledger.on_store)
        poisoned = Poisoned(self.store(client=client, worker_id=worker_id), self.poison, troubles)
        store = cast("Store", TroubledStore(cast("Store", poisoned), troubles))
        stepped_reports = SteppedReports(self._reports, host.steps)
        reports = cast("Reports", Troubled("reports", stepped_reports, troubles))
        tally = Tally(clock)
        path = BatchPath(
            bus=bus,
            store=store,
            policy=policy or self.policy,
            clock=clock,
            tally=tally,
            exchanges=Exchanges(broker.topology.assignments, broker.topology.dead),
            fresh=lambda: Fresh(rfc3339(clock.now()), self._new_id, self.vault.kek_id),
            max_attempts=limits.max_attempts,
            on_step=stepped,
        )
        worker = Worker(
            bus=bus,
            store=store,
            path=path,
            sweeper=Sweeper(
                store, clock, worker_id=worker_id, every_s=limits.sweep_s, limit=limits.batch_max
            ),
            anchor=Anchor(bus.anchor, store, worker_id=worker_id, identity=["this one"]),
            reporter=Reporter(reports, bus, tally, clock, worker_id),
            tally=tally,
            clock=clock,
            settings=limits.worker(),
            jitter=lambda _least, _most: 0.0,
        )
        return Process(worker, bus, path, tally, troubles, host, steps)

    def store(
        self, vault: KeyringVault | None = None, *, client: Any = None, worker_id: str = "w0"
    ) -> RedisStore:
        """Open the store as a process does."""
        vault = vault or self.vault
        client = client or self.redis
        admission = Admission(
            client,
            self.names,
            source="/kmworker",
            allow_volatile=True,
            check_values=vault.check_values,
            worker_id=worker_id,
        )
        # Whether a store in memory is durable cannot be asked; what it has forgotten can.
        admission.history = History(client, self.names, worker_id=worker_id)
        store = RedisStore(
            client,
            vault,
            names=self.names,
            admission=admission,
            clock=self.clock,
            waiting_max=self.limits.waiting_max,
            waiting_deadline_s=self.limits.waiting_deadline_s,
        )
        store._writes.worth_halving = 2
        return store

    def come_to_rest(self, *processes: Process) -> None:
        """Let processes take turns until none of them has anything to do."""
        reached = -1
        while reached != len(self.broker.journal):
            reached = len(self.broker.journal)
            for process in processes:
                process.turn(3)

    def let_pass(self, seconds: float) -> None:
        """Let time pass, here and for what expires in the store by the server's own clock."""
        self.clock.advance(seconds)
        for key in self.redis.keys(self.names.lease("*")):
            left_ms = self.redis.pttl(key) - int(seconds * 1000)
            self.redis.pexpire(key, max(left_ms, 0))

    def lose_record(self, item: Item) -> None:
        """Delete an item's record, as someone with access might."""
        self.redis.hdel(self.names.of(item.project, "items"), item.ref)
        self.lost.add(item)

    def forget_scripts(self) -> None:
        """Do to the store's scripts what its restart does."""
        self.redis.script_flush()

    # --- what goes in -------------------------------------------------------------

    def publish(self, *events: Sent, **properties: Any) -> None:
        """Publish events, in this order."""
        for event in events:
            found = {"content_type": "application/cloudevents+json", **properties}
            exchange = self.broker.topology.events
            self.ledger.accept(event)
            assert self.broker.publish(exchange, event.routing_key, event.body, found)

    # --- what comes out -----------------------------------------------------------

    @property
    def announcements(self) -> Sequence[Message]:
        """All announcements, in their order."""
        return list(self.broker.queues[EVERY_ASSIGNMENT].ready)

    def announced(self) -> dict[str, list[bytes]]:
        """All announcements by item ref, in their order."""
        found: dict[str, list[bytes]] = defaultdict(list)
        for message in self.announcements:
            item = json.loads(message.body)["data"]["item"]
            found[f"{item['kind']}:{item['id']}"].append(message.body)
        return dict(found)

    @property
    def letters(self) -> Sequence[Message]:
        """All dead letters, in their order."""
        return list(self.broker.dead.ready)

    def reasons(self) -> dict[str, str]:
        """The last reason for each dead letter, by event id."""
        return {
            headers["x-kmworker-event-id"]: headers["x-kmworker-reason"]
            for headers in (letter.properties["application_headers"] for letter in self.letters)
        }

    def record(self, item: Item) -> dict[str, Any] | None:
        """Return an item's record."""
        return self.ledger.record(item)

    def waiting(self, project: str = "p1") -> dict[str, dict[str, Any]]:
        """Return the entries of a project's waiting room."""
        entries = self.redis.hgetall(self.names.of(project, "waiting"))
        return {name.decode(): json.loads(entry) for name, entry in entries.items()}

    def _new_id(self) -> str:
        return str(uuid.UUID(int=next(self._ids)))


@cache
def _shipped_policy() -> Policy:
    return load_policy(SHIPPED_POLICY.read_text("utf-8"), "policy.toml")
