"""A broker in memory that does what RabbitMQ does with quorum queues.

It survives whatever happens to its clients. A message handed out on a channel stays that
channel's until it is acknowledged there or the channel ends. Then it goes back to its
queue, marked as redelivered, with a count that tells how often.
"""

import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from kmworker.bus.topology import Topology

__all__ = ["Broker", "Channel", "Message", "Queue"]


@dataclass(frozen=True, slots=True)
class Message:
    """A message as a queue holds it."""

    body: bytes
    routing_key: str
    properties: Mapping[str, Any]
    delivery_count: int = 0

    def delivered(self) -> "Message":
        """Return it as a consumer gets it: with the broker's own note, if there is one."""
        if not self.delivery_count:
            return self
        headers = dict(self.properties.get("application_headers") or {})
        headers["x-delivery-count"] = self.delivery_count
        return replace(self, properties={**self.properties, "application_headers": headers})


@dataclass(slots=True)
class Queue:
    """Messages that wait for a consumer."""

    name: str
    ready: deque[Message] = field(default_factory=deque)


class Channel:
    """The broker's side of a consuming channel."""

    def __init__(self, queue: Queue, prefetch: int) -> None:
        self.queue = queue
        self.in_flight: deque[tuple[int, Message]] = deque()
        """Sent, and not taken by the client yet."""
        self.unacknowledged: dict[int, Message] = {}
        self._prefetch = prefetch
        self._last_tag = 0

    @property
    def has_credit(self) -> bool:
        """Say whether the prefetch limit lets another message through."""
        return len(self.unacknowledged) < self._prefetch

    def send(self, message: Message) -> None:
        """Hand out a message under the channel's next tag."""
        self._last_tag += 1
        self.unacknowledged[self._last_tag] = message
        self.in_flight.append((self._last_tag, message.delivered()))


class Broker:
    """Exchanges, queues and bindings of one namespace, and whoever consumes.

    Attributes:
        journal: every effect in its order: ``("stored", exchange, body)`` where a message
            was routed, ``("acknowledged", body)``.
    """

    def __init__(self, namespace: str = "kmworker", *, requeue_at_front: bool = False) -> None:
        self.topology = Topology(namespace)
        self.journal: list[tuple[str, ...]] = []
        self.queues: dict[str, Queue] = {}
        self.anchors: list[bytes] = []
        # Without a delivery limit RabbitMQ puts them at the back, with one near the front.
        self._requeue_at_front = requeue_at_front
        self._bindings: list[tuple[str, str, Queue]] = []
        self._channels: deque[Channel] = deque()
        self.ensure_topology()

    @property
    def work(self) -> Queue:
        """Return the queue that workers compete on."""
        return self.queues[self.topology.work]

    @property
    def dead(self) -> Queue:
        """Return the dead letters."""
        return self.queues[self.topology.dead]

    @property
    def is_settled(self) -> bool:
        """Say whether every event has been acknowledged."""
        return not self.work.ready and not any(c.unacknowledged for c in self._channels)

    def ensure_topology(self) -> None:
        """Declare and bind what is missing."""
        names = self.topology
        for name, exchange in ((names.work, names.events), (names.dead, names.dead)):
            self.queues.setdefault(name, Queue(name))
            self.bind(name, exchange, "#")

    def bind(self, queue: str, exchange: str, pattern: str) -> Queue:
        """Bind a queue, declaring it if need be; binding twice is binding once."""
        bound = (exchange, pattern, self.queues.setdefault(queue, Queue(queue)))
        if not any(
            binding[:2] == bound[:2] and binding[2] is bound[2] for binding in self._bindings
        ):
            self._bindings.append(bound)
        return bound[2]

    def unbind(self, queue: str) -> None:
        """Take away all of a queue's bindings."""
        self._bindings = [binding for binding in self._bindings if binding[2].name != queue]

    def publish(
        self, exchange: str, routing_key: str, body: bytes, properties: Mapping[str, Any]
    ) -> bool:
        """Store a message in each queue that is bound for it; say whether there is one."""
        queues = {
            queue.name: queue
            for bound, pattern, queue in self._bindings
            if bound == exchange and _matches(pattern, routing_key)
        }
        for queue in queues.values():
            queue.ready.append(Message(body, routing_key, dict(properties)))
        if queues:
            self.journal.append(("stored", exchange, body.decode(errors="replace")))
        self._dispatch()
        return bool(queues)

    def consume(self, prefetch: int) -> Channel:
        """Open a channel on the work queue."""
        channel = Channel(self.work, prefetch)
        self._channels.append(channel)
        self._dispatch()
        return channel

    def acknowledge(self, channel: Channel, tag: int) -> None:
        """Forget a message; a tag that the channel does not know would end it."""
        message = channel.unacknowledged.pop(tag)
        self.journal.append(("acknowledged", message.body.decode(errors="replace")))
        self._dispatch()

    def drop(self, channel: Channel) -> None:
        """End a channel: whatever is unacknowledged on it is handed out again."""
        if channel not in self._channels:
            return
        self._channels.remove(channel)
        returned = [
            replace(message, delivery_count=message.delivery_count + 1)
            for message in channel.unacknowledged.values()
        ]
        if self._requeue_at_front:
            channel.queue.ready.extendleft(reversed(returned))
        else:
            channel.queue.ready.extend(returned)
        channel.unacknowledged.clear()
        channel.in_flight.clear()
        self._dispatch()

    def counts(self) -> tuple[int, int, int]:
        """Return messages ready in work and dead, and the consumers of work."""
        return len(self.work.ready), len(self.dead.ready), len(self._channels)

    def _dispatch(self) -> None:
        """Hand out what may be handed out, to each consumer in turn."""
        idle = 0
        while self.work.ready and idle < len(self._channels):
            channel = self._channels[0]
            self._channels.rotate(-1)
            if channel.has_credit:
                channel.send(self.work.ready.popleft())
                idle = 0
            else:
                idle += 1


def _matches(pattern: str, routing_key: str) -> bool:
    """Compare as a topic exchange does: ``*`` is one word, ``#`` any number of them."""
    words = [re.escape(word) for word in pattern.split(".")]
    parts = [{r"\*": r"\.[^.]*", r"\#": r"(?:\.[^.]*)*"}.get(word, rf"\.{word}") for word in words]
    return re.fullmatch("".join(parts), f".{routing_key}") is not None
