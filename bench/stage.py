"""A contestant's turn: queues of its own, events in one of them, its processes, and the clock.

Progress is what the broker has of assignments, so it is counted the same way for everybody and
costs nobody anything. The assignments go to a quorum queue that nobody reads in the meantime.
"""

import os
import secrets
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from bench.contestants import Contestant
from bench.events import LoadEvent
from bench.processes import MachineTime, cpu_s, machine_time, pids_below
from bench.servers import Servers
from kmworker.bootstrap.worker import open_store
from kmworker.bus.amqp.link import Link
from kmworker.bus.publisher import Publisher
from kmworker.settings import Settings
from kmworker.wire.topology import QUORUM, Topology
from tests.kit.servers import ADMIN, process

T = TypeVar("T")

PAGE_SIZE = 500
POLL_S = 0.02
PATIENCE_S = 60.0
STOP_S = 30.0
CONFIRM_S = 120.0
MAX_HEARD = 1_000


@dataclass(frozen=True, slots=True)
class Moment:
    """How far everything was at one moment."""

    at_s: float
    done: int
    cpu: dict[str, float]
    """CPU seconds of the contestant and of each server since they started."""
    machine: MachineTime


class Stage:
    """Queues under a namespace that nobody else uses."""

    def __init__(self, servers: Servers, contestant: Contestant) -> None:
        self.servers = servers
        self.contestant = contestant
        self.namespace = f"bench{secrets.token_hex(3)}"
        self.topology = Topology(self.namespace)
        self.settings: Settings = servers.settings(self.namespace)
        self.heard = f"{self.namespace}.sub.heard"
        self.published = 0
        self._link = Link(self.settings_of(ADMIN).broker, "bench")
        self._subscriber = Link(self.settings_of("subscriber").broker, "bench subscriber")
        self._channel: Any = None
        producer = Link(self.settings_of("producer").broker, "bench load")
        self._publisher = Publisher(producer, CONFIRM_S)

    def open(self, *, keep_store: bool = False) -> None:
        """Declare what the contestant and its subscriber need, in an empty store or as it is."""
        if not keep_store:
            self.servers.client().flushall()
        if not self.contestant.has_own_layout:
            # An installation's store knows its keyring, whoever works on it.
            open_store(self.settings, "bench").store.admit()
        self._link.open()
        self._channel = self._link.connection.channel()
        self._declare_work()
        self._subscribe(dict(QUORUM))

    def settings_of(self, role: str) -> Settings:
        """Return the settings of whoever has this account of the broker's."""
        return self.servers.settings(self.namespace, broker=role)

    def environment(self) -> dict[str, str]:
        """Return the contestant's variables; the worker and the limit have a worker's accounts."""
        if self.contestant.has_own_rights:
            return self.servers.peers_environment(self.namespace)
        return self.servers.environment(self.namespace)

    def _declare_work(self) -> None:
        """Declare the work queue as the contestant wants it; all other names are as shipped."""
        work, wanted = self.topology.work, self.contestant.queue_arguments(self.topology.work)
        if wanted != QUORUM:
            self._channel.queue_delete(work)
            self._channel.queue_declare(work, durable=True, auto_delete=False, arguments=wanted)
            self._channel.queue_bind(work, self.topology.events, "#")

    def _subscribe(self, arguments: dict[str, Any]) -> None:
        """Have the subscriber declare and bind its queue."""
        self._subscriber.open()
        channel = self._subscriber.connection.channel()
        channel.queue_declare(self.heard, durable=True, auto_delete=False, arguments=arguments)
        for announced in ("key-assigned.#", "key-released.#"):
            channel.queue_bind(self.heard, self.topology.assignments, announced)
        self._subscriber.close()

    def publish(self, events: Iterable[LoadEvent]) -> None:
        """Publish events, confirmed."""
        self._publisher.open()
        waiting = iter(events)
        while page := list(islice(waiting, PAGE_SIZE)):
            encode = self.contestant.encode
            routed = self._publisher.publish([encode(self.topology, event) for event in page])
            assert all(routed), "an event found no queue"
            self.published += len(page)
            # Heartbeats that nobody reads are taken for none.
        self._link.drain(0)
        self._link.tick()

    def tick(self) -> None:
        """Keep the connections alive; call now and then while nothing else is done with them."""
        self._link.tick()
        self._link.drain(0)
        self._publisher.tick()

    def hear_little(self) -> None:
        """Let the subscriber's queue keep the latest only: assignments are routed, none pile up."""
        self._channel.queue_delete(self.heard)
        self._subscribe(QUORUM | {"x-max-length": MAX_HEARD})

    def assigned(self) -> int:
        """Return how many assignments the broker holds; what is released counts as one, too."""
        declared = self._channel.queue_declare(self.heard, passive=True)
        return int(declared.message_count)

    def left(self) -> int:
        """Return how many events nobody has taken."""
        declared = self._channel.queue_declare(self.topology.work, passive=True)
        return int(declared.message_count)

    def close(self) -> None:
        """Delete everything, what frameworks declared beside it included."""
        self._publisher.close()
        self._link.close()
        self.servers.broker.forget(self.namespace)


class Running:
    """A contestant's processes while they run."""

    def __init__(self, stage: Stage, number: int = 1) -> None:
        self.stage = stage
        contestant = stage.contestant
        # Once for all: a peer's account gets another password each time.
        self._environment = os.environ | stage.environment()
        self._environment |= {"BENCH_QUEUE": stage.topology.work, **contestant.environment}
        self._processes = [self._spawn(index) for index in range(number * contestant.instances)]

    def _spawn(self, index: int) -> "subprocess.Popen[bytes]":
        command = [part.replace("{}", str(index)) for part in self.stage.contestant.command]
        return process.spawn(command, environment=self._environment, log_path=self.log_path(index))

    def log_path(self, index: int = 0) -> Path:
        """Return where one of the processes logs, by default the first."""
        return self.stage.servers.folder / f"{self.stage.namespace}-{index}.log"

    @property
    def pid(self) -> int:
        """The first process's id."""
        return self._processes[0].pid

    def moment(self) -> Moment:
        """Look at everything at once."""
        self.check()
        groups = {"contestant": set[int]()}
        for started in self._processes:
            groups["contestant"] |= pids_below(started.pid)
        groups |= self.stage.servers.pids()
        groups["bench"] = {os.getpid()}
        done = self.stage.assigned()
        cpu = {name: cpu_s(pids) for name, pids in groups.items()}
        return Moment(time.monotonic(), done, cpu, machine_time())

    def check(self) -> None:
        """Stop the measurement if a process has ended."""
        for index, started in enumerate(self._processes):
            if started.poll() is not None:
                log = self.log_path(index).read_text()
                raise RuntimeError(f"{self.stage.contestant.name} has ended:\n{log[-4000:]}")

    def await_assigned(self, number: int, within_s: float = PATIENCE_S) -> bool:
        """Wait until so many assignments are there; say whether they are."""
        deadline = time.monotonic() + within_s
        while self.stage.assigned() < number:
            self.check()
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_S)
        return True

    def pause(self) -> None:
        """Stop the clock for them."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let them go on after a pause."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        for started in self._processes:
            started.send_signal(number)

    def stop(self) -> None:
        """End them, at last by force."""
        for started in self._processes:
            started.terminate()
        for started in self._processes:
            try:
                started.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill(started)


def rotated(them: Sequence[T], by: int) -> list[T]:
    """Begin with another one each time: what comes first has a fresher disk."""
    at = by % len(them)
    return [*them[at:], *them[:at]]


@contextmanager
def on_stage(
    servers: Servers, contestant: Contestant, *, keep_store: bool = False
) -> Iterator[Stage]:
    """Give a contestant its stage, and clear it away."""
    stage = Stage(servers, contestant)
    stage.open(keep_store=keep_store)
    try:
        yield stage
    finally:
        stage.close()


@contextmanager
def running(stage: Stage, number: int = 1) -> Iterator[Running]:
    """Run a contestant."""
    started = Running(stage, number)
    try:
        yield started
    finally:
        started.stop()
