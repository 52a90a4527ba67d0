"""A whole installation in memory: broker, store and clock last, worker processes do not.

All parts that decide are the real ones, and so is the bus: `RabbitBus` on simulated
connections. The store is `RedisStore` over fakeredis, with its real scripts.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any, Final, cast
from uuid import UUID

from kmworker.bootstrap.assembly import assemble, assemble_store
from kmworker.bootstrap.worker import prefetch_for
from kmworker.bus.rabbit import RabbitBus
from kmworker.clock import Clock, StoreClock, rfc3339
from kmworker.crypto import Keyring, KeyringCustody
from kmworker.crypto.kek import Kek
from kmworker.domain.model import Item
from kmworker.domain.policy import Policy
from kmworker.errors import PermanentError, UnknownKek
from kmworker.ports import Reports, Store
from kmworker.settings import Settings
from kmworker.store.key_records import scope_in
from kmworker.store.names import Names
from kmworker.store.redis_store import RedisStore
from kmworker.store.reports import RedisReports
from kmworker.worker.stages import Milestone
from tests.kit.builders import SHIPPED, SHIPPED_POLICY
from tests.kit.simulator.broker import Broker
from tests.kit.simulator.bus import SimulatedBus
from tests.kit.simulator.clients import Clients
from tests.kit.simulator.clock import Ahead, SettableClock
from tests.kit.simulator.delivery_ledger import DeliveryLedger
from tests.kit.simulator.events import Sent
from tests.kit.simulator.host import Host
from tests.kit.simulator.ledger import Ledger
from tests.kit.simulator.limits import Limits
from tests.kit.simulator.lua import simulated_server
from tests.kit.simulator.manner import Manner
from tests.kit.simulator.poison import Poisoned
from tests.kit.simulator.process import Process
from tests.kit.simulator.steps import Fault
from tests.kit.simulator.store import NoReports, SimulatedClient, SteppedReports, load_scripts
from tests.kit.simulator.troubles import Troubled, Troubles
from tests.kit.simulator.wire import Message
from tests.kit.store.direct import Keyspace
from tests.kit.store.fake_client import FakeClient

__all__ = ["SHIPPED_POLICY", "SIMULATED", "Installation", "Limits", "Process"]

EVERY_ASSIGNMENT: Final = "subscriber"
EVERY_CHANGE: Final = "key subscriber"
# Steps, each a page of projects or what is done about it.
ENOUGH_TO_COUNT: Final = 12
NEXT_KEK: Final = b"n" * 32
SIMULATED: Final = "00000000-0000-4000-8000-00000000517a"


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
        installation: str = SIMULATED,
    ) -> None:
        self.limits = limits or Limits()
        self.policy = policy or SHIPPED
        self.installation = installation
        self.clocks_ahead_s: Sequence[float] = (0.0,)
        """Of the machines that processes run on, one after the other."""
        self.clocks_beside_ahead_s: Sequence[float] = (0.0, 5400.0, -5400.0)
        """The same of those on which something is done beside the workers."""
        self.clock = SettableClock()
        self.broker = Broker(self.clock, requeue_at_front=requeue_at_front, manner=manner)
        self.broker.bind(EVERY_ASSIGNMENT, self.broker.topology.assignments, "#")
        self.broker.bind(EVERY_CHANGE, self.broker.topology.keys, "#")
        self.server = simulated_server()
        self.redis: Any = FakeClient(server=self.server)
        load_scripts(self.server)
        self.names = Names("km")
        self.ledger = Ledger(self.broker, Keyspace(self.server), self.names)
        self.clients = Clients(self)
        self.deliveries = DeliveryLedger(self)
        self.altered: set[Item] = set()
        """Items whose records someone has deleted, or put there."""
        self.is_tidied = False
        """A janitor has done all that was due."""
        self.must_be_refused = False
        """The store has lost what no worker may overlook."""
        self.poison: dict[str, BaseException] = {}
        """Items whose events are poison, and what happens to whoever handles one."""
        first, next_one = (Kek(it, rfc3339(self.clock.now())) for it in (kek, NEXT_KEK))
        self.keyring = Keyring(first.kek_id, {it.kek_id: it for it in (first, next_one)})
        """Of every process: the second KEK is known from the beginning."""
        self.keyring_files: list[Keyring] = []
        """What the keyring's file is to be, when some process looks at it next."""
        self.next_kek = next_one.kek_id
        self.custody = self.opened()
        """Of whoever checks: no store has told it anything, and it opens all."""
        self.ledger.chronicle.open_dek = self._open_dek
        self._reports: Reports = (
            RedisReports(self.redis, self.names, "w", self.clock.monotonic)
            if reports
            else NoReports()
        )
        self.first_source = "/kmworker"
        """The setting; what counts is that of the store's first worker."""
        # Those of another installation are others.
        self._ids = count(1 if installation == SIMULATED else 1_000)
        self._workers = count(1)
        self.hands = count(0)
        """Numbers of processes beside the workers."""

    def opened(self) -> KeyringCustody:
        """Open the keyring, as each process does for itself."""
        changes = self.keyring_files
        changed = lambda: changes.pop() if changes else None  # noqa: E731  # a file that is read anew
        return KeyringCustody(self.keyring, self.installation, changed)

    def _open_dek(
        self, project: str, scope_id: str, scope: Mapping[str, Any], blob: bytes
    ) -> bytes:
        try:
            return self.custody.unwrap(project, scope_in(scope_id, scope), blob)
        except (PermanentError, UnknownKek):
            return blob

    def dek_of(self, project: str, scope_id: str) -> bytes | None:
        """Return a scope's DEK, as far as it is there."""
        raw = self.ledger.keyspace.field(self.names.of(project, "scopes"), scope_id)
        blob = self.ledger.keyspace.field(self.names.of(project, "deks"), scope_id)
        return raw and blob and self._open_dek(project, scope_id, json.loads(raw), blob)

    # --- processes ----------------------------------------------------------------

    def process(
        self,
        *,
        policy: Policy | None = None,
        on_milestone: Callable[[Milestone], None] = lambda _step: None,
        faults: Mapping[int, Fault] | None = None,
        clock_ahead_s: float | None = None,
    ) -> Process:
        """Start a worker process; `Process.turn` or `Process.run` make it work."""
        troubles = Troubles()
        number = next(self._workers)
        worker_id = f"worker-{number}"
        if clock_ahead_s is None:
            clock_ahead_s = self.clocks_ahead_s[(number - 1) % len(self.clocks_ahead_s)]
        clock = StoreClock(Ahead(self.clock, clock_ahead_s))
        steps: list[Milestone] = []

        def stepped(step: Milestone) -> None:
            steps.append(step)
            on_milestone(step)

        host = Host(self.broker, troubles, faults)
        host.forget_scripts = self.forget_scripts
        settings = self.settings
        real = SimulatedBus(
            host, settings.broker, prefetch=prefetch_for(self.limits.batch_max), name=worker_id
        )
        troubles.lose = real.lose
        bus = cast("RabbitBus", Troubled("bus", real, troubles))
        client = SimulatedClient(self.server, host.steps, self.ledger.on_store)
        custody = self.opened()
        host.strike_store = client.strike
        poisoned = Poisoned(
            self.store(custody, client=client, worker_id=worker_id, clock=clock),
            self.poison,
            troubles,
        )
        store = cast("Store", Troubled("store", poisoned, troubles))
        stepped_reports = SteppedReports(self._reports, host.steps)
        reports = cast("Reports", Troubled("reports", stepped_reports, troubles))
        worker = assemble(
            settings,
            worker_id=worker_id,
            bus=bus,
            store=store,
            reports=reports,
            custody=custody,
            policy=policy or self.policy,
            clock=clock,
            # A store in memory goes by no clock of its own.
            time_s=self.clock.now,
            new_id=self._new_id,
            on_milestone=stepped,
            jitter=lambda _least, _most: 0.0,
        )
        return Process(worker, bus, worker._stages, worker._tally, troubles, host, steps)

    def store(
        self,
        custody: KeyringCustody | None = None,
        *,
        client: Any = None,
        worker_id: str = "w0",
        clock: Clock | None = None,
    ) -> RedisStore:
        """Open the store as a process does."""
        store = assemble_store(
            self.settings,
            client or self.redis,
            custody or self.opened(),
            clock or self.clock,
            worker_id=worker_id,
            new_id=lambda: self.installation,
        )
        store._writes.worth_halving = 2
        return store

    @property
    def settings(self) -> Settings:
        """Return what every process is configured with."""
        return self.limits.settings(self.first_source)

    @property
    def is_in_use(self) -> bool:
        """Return whether a worker has written anything of a project."""
        return bool(self.ledger.keyspace.members(self.names.top("projects")))

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

    def count_projects(self) -> None:
        """Let all projects be counted, as some worker does now and then."""
        reports = RedisReports(self.redis, self.names, "counting", self.clock.monotonic)
        for _ in range(ENOUGH_TO_COUNT):
            reports.count_if_due(self.clock.now())

    def lose_record(self, item: Item) -> None:
        """Delete an item's record, as someone with access might."""
        self.redis.hdel(self.names.of(item.project, "items"), item.ref)
        self.altered.add(item)
        self.ledger.on_outsider()

    def lose_project(self, project: str) -> None:
        """Delete all that is stored of a project; its name stays in the list of them."""
        for key in self.redis.keys("*"):
            if f"{{{project}}}".encode() in key:
                self.redis.delete(key)
        self.ledger.chronicle.forgive()
        self.must_be_refused = True

    def forget_scripts(self) -> None:
        """Do to the store's scripts what its restart does."""
        self.redis.script_flush()

    # --- what goes in -------------------------------------------------------------

    def publish(self, *events: Sent, **properties: Any) -> None:
        """Publish events, in this order."""
        for event in events:
            found = {"content_type": "application/cloudevents+json", **properties}
            if event.user is not None:
                found["user_id"] = event.user
            exchange = self.broker.topology.events
            self.ledger.accept(event)
            assert self.broker.publish(exchange, event.routing_key, event.body, found)

    def handle(self, *events: Sent, **properties: Any) -> Process:
        """Publish events, and let a new process do all that there is to do."""
        self.publish(*events, **properties)
        process = self.process()
        process.run()
        return process

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

    def letter_of(self, event: Sent) -> Mapping[str, Any]:
        """Return the headers of an event's one dead letter."""
        (letter,) = [letter for letter in self.letters if letter.body == event.body]
        return letter.headers

    def reasons(self) -> dict[str, str]:
        """The last reason for each dead letter, by event id."""
        return {
            letter.headers["x-kmworker-event-id"]: letter.headers["x-kmworker-reason"]
            for letter in self.letters
        }

    def record(self, item: Item) -> dict[str, Any] | None:
        """Return an item's record."""
        return self.ledger.record(item)

    def waiting(self, project: str = "p1") -> dict[str, dict[str, Any]]:
        """Return the entries of a project's waiting room."""
        entries = self.redis.hgetall(self.names.of(project, "waiting"))
        return {name.decode(): json.loads(entry) for name, entry in entries.items()}

    def _new_id(self) -> str:
        return str(UUID(int=next(self._ids), version=4))
