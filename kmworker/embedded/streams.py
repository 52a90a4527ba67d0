"""The embedded mode's broker: streams and consumer groups in the store's own server.

It keeps every promise of the `Bus` port. A reply to XADD is the confirm, because the
server syncs its append-only file before it replies. A message stays pending until it is
acknowledged, and one whose consumer has died is claimed, with its delivery count, by
whoever finds the consumer's sign of life gone.
"""

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import resources
from time import monotonic
from typing import Any, Final

from redis.exceptions import ResponseError

from kmworker.domain.message import Confirm, Delivery, Outgoing
from kmworker.embedded.route import OpenStream, Router, read_entry, stream_errors
from kmworker.errors import BrokerUnavailable
from kmworker.ports import Answered, Pending, QueueCounts
from kmworker.store.client import Client
from kmworker.wire.topology import Topology

__all__ = ["StreamBus"]

GROUP: Final = "workers"
# A consumer that gives no sign of life for so long is dead, and its messages are free.
ALIVE_S: Final = 10.0
CLAIM_EVERY_S: Final = 2.0
# A signal's handler runs between waits, so no wait is longer than this.
WAIT_SLICE_S: Final = 0.25
MAX_READ: Final = 1000


class StreamBus(OpenStream):
    """A `Bus` on Redis or Valkey streams."""

    def __init__(self, client: Client, *, namespace: str, prefetch: int, name: str) -> None:
        self.generation = 0
        self._client: Any = client  # its types leave open whether replies are bytes
        self._router = Router(client)
        self._topology = Topology(namespace)
        self._prefetch = prefetch
        self._name = name
        self._arrived: deque[Delivery] = deque()
        self._entries: dict[int, bytes] = {}
        """Stream entries handed out and not acknowledged, by tag."""
        self._next_tag = 0
        self._next_claim = 0.0
        self._leave = resources.files("kmworker.embedded").joinpath("leave.lua").read_bytes()

    def open(self) -> None:
        """Declare the queues and the group, and sign in."""
        if self._is_open:
            return
        self._router.declare(self._topology)
        with stream_errors():
            self._create_group()
            # What this process had before is free at once, under the name it had then.
            self._client.delete(self._alive())
            self.generation += 1
            self._sign_in()
        self._arrived.clear()
        self._entries.clear()
        self._next_claim = 0.0
        self._is_open = True

    def receive(self, limit: int, timeout_s: float) -> list[Delivery]:
        """Take what is there, at most ``limit``."""
        with self._errors():
            self._claim_if_due()
            free = min(self._prefetch - len(self._entries), MAX_READ)
            if free > 0 and len(self._arrived) < limit:
                self._read(free, 0.0 if self._arrived else min(timeout_s, WAIT_SLICE_S))
        return [self._arrived.popleft() for _ in range(min(limit, len(self._arrived)))]

    def send(self, messages: Sequence[Outgoing]) -> Pending[list[Confirm]]:
        """Publish all: the server has them on disk when it replies, which confirms them."""
        with self._errors():
            routed = self._router.publish(messages)
        return Answered([Confirm.STORED if it else Confirm.UNROUTED for it in routed])

    def renew(self) -> None:
        """Do nothing: a stream refuses nothing alone."""

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Settle these; those of an older generation are skipped."""
        tags = [d.tag for d in deliveries if d.generation == self.generation]
        entries = [self._entries.pop(tag) for tag in tags if tag in self._entries]
        if not entries:
            return
        # Whether they are settled is not known after an error: they come again then, under
        # another generation, to be settled under that.
        with self._errors():
            pipeline = self._client.pipeline(transaction=True)
            pipeline.xack(self._topology.work, GROUP, *entries)
            pipeline.xdel(self._topology.work, *entries)
            pipeline.execute()

    def put_aside(self, deliveries: Sequence[Delivery]) -> None:
        """Do nothing: what is pending keeps nothing else back."""

    def counts(self) -> QueueCounts:
        """Look at the queues; what is pending with a consumer is not ready."""
        with stream_errors():
            (group,) = self._client.xinfo_groups(self._topology.work)
            work = self._client.xlen(self._topology.work) - group["pending"]
            dead = self._client.xlen(self._topology.dead)
            return QueueCounts(max(work, 0), dead, len(self._living()))

    def anchor(self, choose: Callable[[list[bytes]], bytes]) -> None:
        """Keep nothing: queue and store are one server, and would be rolled back together."""

    def tick(self) -> None:
        """Give a sign of life."""
        with stream_errors():
            self._sign_in()

    def close(self) -> None:
        """Sign off: others may claim at once what is not acknowledged."""
        if not self._is_open:
            return
        self._is_open = False
        # Without the server, the sign of life expires by itself.
        with suppress(BrokerUnavailable), stream_errors():
            self._client.delete(self._alive())

    def _create_group(self) -> None:
        try:
            self._client.xgroup_create(self._topology.work, GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    def _sign_in(self) -> None:
        self._client.set(self._alive(), "1", px=int(ALIVE_S * 1000))

    @property
    def _consumer(self) -> str:
        return f"{self._name}#{self.generation}"

    def _alive(self, consumer: str | None = None) -> str:
        return f"{self._topology.work}:consumer:{consumer or self._consumer}"

    def _read(self, count: int, wait_s: float) -> None:
        # BLOCK 0 would wait for ever, so no waiting at all is left out.
        block = max(int(wait_s * 1000), 1) if wait_s else None
        replies = self._client.xreadgroup(
            GROUP, self._consumer, {self._topology.work: ">"}, count=count, block=block
        )
        for _stream, entries in replies or ():
            for entry, fields in entries:
                self._deliver(entry, fields, delivery_count=0)

    def _claim_if_due(self) -> None:
        now = monotonic()
        if now < self._next_claim:
            return
        self._next_claim = now + CLAIM_EVERY_S
        living = self._living()
        for consumer in self._client.xinfo_consumers(self._topology.work, GROUP):
            name = consumer["name"].decode()
            if name not in living:
                self._claim_from(name, consumer["pending"])

    def _living(self) -> set[str]:
        consumers = self._client.xinfo_consumers(self._topology.work, GROUP)
        names = [consumer["name"].decode() for consumer in consumers]
        signs = self._client.mget([self._alive(name) for name in names]) if names else []
        return {name for name, sign in zip(names, signs, strict=True) if sign is not None}

    def _claim_from(self, dead: str, pending: int) -> None:
        """Take over what a dead consumer had; the last to do so forgets it."""
        free = self._prefetch - len(self._entries)
        if pending == 0:
            self._client.eval(self._leave, 2, self._topology.work, self._alive(dead), GROUP, dead)
            return
        if free <= 0:
            return
        work = self._topology.work
        waiting = self._client.xpending_range(work, GROUP, "-", "+", free, consumername=dead)
        counts = {entry["message_id"]: entry["times_delivered"] for entry in waiting}
        if not counts:
            return
        # Only what is idle since then: another may have claimed it a moment ago.
        idle_ms = min(entry["time_since_delivered"] for entry in waiting)
        for entry, fields in self._client.xclaim(
            work, GROUP, self._consumer, max(idle_ms, 1), list(counts)
        ):
            if fields:
                self._deliver(entry, fields, delivery_count=counts[entry])

    def _deliver(self, entry: bytes, fields: dict[bytes, bytes], delivery_count: int) -> None:
        self._next_tag += 1
        self._entries[self._next_tag] = entry
        self._arrived.append(
            Delivery(
                original=read_entry(fields),
                tag=self._next_tag,
                generation=self.generation,
                received_at=monotonic(),
                delivery_count=delivery_count,
            )
        )
