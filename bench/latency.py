"""How long from publishing an event to receiving its assignment, at a constant rate.

The load is open: an event is published when it is due, whatever became of those before it, and its
latency counts from when it was due. So a contestant that falls behind cannot slow its own clock.
"""

import json
import math
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from bench.contestants import Contestant
from bench.events import LoadEvent, collections
from bench.servers import Servers
from bench.stage import Running, Stage, on_stage, running
from bench.throughput import PROJECTS
from kmworker.bus.amqp.frames import RawDelivery
from kmworker.bus.amqp.link import Link
from kmworker.bus.publisher import Publisher

# Of each kind, before the next: more than anyone has at hand, and all kinds within a few seconds.
BLOCK = 300
WARM_EVENTS = 50
# What is not there by then is not waited for: the load is more than the contestant can bear.
GRACE_S = 5.0
KEPT_UP = 0.95
SUBSCRIBED = 1_000


@dataclass(frozen=True, slots=True)
class Latency:
    """One rate of events, offered for some seconds."""

    offered_per_s: float
    events_per_s: float
    """Assignments that came within the time of the offer."""
    median_ms: float
    p99_ms: float
    cpu_us: float
    """User and system time of the contestant, for one event."""

    @property
    def kept_up(self) -> bool:
        """Whether it could do with this rate."""
        return self.events_per_s >= KEPT_UP * self.offered_per_s


def sweep(
    servers: Servers, contestant: Contestant, offers: list[tuple[float, float]]
) -> Iterator[Latency]:
    """Start a contestant and offer it more and more, until it cannot keep up.

    Args:
        servers: to run on.
        contestant: what to run.
        offers: events a second, and for how many seconds.
    """
    with on_stage(servers, contestant) as stage, running(stage) as run:
        events = collections(2**62, PROJECTS, stage.namespace, BLOCK)
        # Connections, scripts and caches are there before the first look.
        stage.publish(islice(events, WARM_EVENTS))
        if not run.await_assigned(WARM_EVENTS):
            raise RuntimeError(f"{contestant.name} handles nothing; see {run.log_path()}")
        lane = _Lane(stage)
        try:
            for rate, seconds in offers:
                latency = _offer(lane, run, islice(events, int(rate * seconds)), rate)
                yield latency
                if not latency.kept_up:
                    return
        finally:
            lane.close()


class _Lane:
    """Publishes and subscribes in one thread, so that neither waits for the other."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        producer = stage.settings_of("producer").broker
        self._out = Publisher(Link(producer, "bench pacer"), producer.confirm_timeout_s)
        subscriber = stage.settings_of("subscriber").broker
        self._in = Link(subscriber, "bench subscriber", self._on_arrival)
        self._arrived: deque[tuple[float, RawDelivery]] = deque()
        self._out.open()
        self._in.open()
        self._hearing: Any = self._in.connection.channel()
        self._hearing.basic_qos(0, SUBSCRIBED, False)  # noqa: FBT003  # py-amqp's call
        self._hearing.basic_consume(stage.heard)
        self.hear(0.5)

    def publish(self, events: Sequence[LoadEvent]) -> None:
        """Publish without waiting for confirms: what is lost is missing at the end."""
        encode = self._stage.contestant.encode
        self._out.send([encode(self._stage.topology, event) for event in events])

    def hear(self, timeout_s: float) -> dict[str, float]:
        """Return when assignments arrived, by the event that led to each."""
        self._out.tick()
        self._in.drain(max(timeout_s, 0))
        if not self._arrived:
            return {}
        heard = {json.loads(raw.body)["data"]["cause"]["id"]: at for at, raw in self._arrived}
        self._hearing.basic_ack(self._arrived[-1][1].tag, multiple=True)
        self._arrived.clear()
        return heard

    def close(self) -> None:
        """Leave."""
        self._in.close()
        self._out.close()

    def _on_arrival(self, raw: RawDelivery) -> None:
        self._arrived.append((time.monotonic(), raw))


def _offer(lane: _Lane, run: Running, events: Iterator[LoadEvent], rate: float) -> Latency:
    """Publish each event when it is due, listening in between."""
    waiting = deque(events)
    number = len(waiting)
    before = run.moment()
    began = time.monotonic() + 0.1
    due: dict[str, float] = {}
    latencies: list[float] = []
    ends = began + number / rate
    in_time = 0
    while (waiting or due) and time.monotonic() < ends + GRACE_S:
        next_due = began + (number - len(waiting)) / rate
        overdue = []
        while waiting and next_due <= time.monotonic():
            event = waiting.popleft()
            due[str(event[1]["id"])] = next_due
            overdue.append(event)
            next_due += 1 / rate
        if overdue:
            lane.publish(overdue)
        for cause, at in lane.hear(next_due - time.monotonic() if waiting else 0.1).items():
            if cause in due:
                latencies.append(at - due.pop(cause))
                in_time += at <= ends
    cpu_s = run.moment().cpu["contestant"] - before.cpu["contestant"]
    # What never came counts as late as can be: it must not make the rest look better.
    ordered = sorted(latencies) + [math.inf] * (number - len(latencies))
    return Latency(
        offered_per_s=rate,
        events_per_s=in_time / (number / rate),
        median_ms=1e3 * ordered[len(ordered) // 2],
        p99_ms=1e3 * ordered[int(len(ordered) * 0.99)],
        cpu_us=1e6 * cpu_s / max(len(latencies), 1),
    )
