"""Looking through the dead letters so that none is lost, whenever the looking ends.

Nothing is taken out of the queue before it is settled. On RabbitMQ what is shown is held
unacknowledged and given back by the channel's end, however that comes about; streams hold
nothing, since reading takes nothing away. A letter is made an event again in this order:
published, confirmed, acknowledged. A crash in between repeats the event, which is harmless.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from time import monotonic, sleep
from typing import Any, Final, NamedTuple, Protocol

from kmworker.bus.frames import RawDelivery
from kmworker.bus.link import Link, connect_amqp
from kmworker.bus.publisher import Publisher
from kmworker.bus.topology import Topology
from kmworker.errors import BrokerUnavailable
from kmworker.message import Original, Outgoing
from kmworker.settings import BrokerSettings

__all__ = ["DeadQueue", "Held", "RabbitDeadQueue"]

PORTION: Final = 100
"""Letters at a time: with bodies of 64 KiB a few megabytes."""
# A quorum queue hands 2000 to one consumer at most; when one is full, another one goes on.
# Fewer, because as many are read ahead: with bodies of 64 KiB 32 MiB.
PREFETCH: Final = 500
# A queue that has nothing ready and sends nothing for so long has sent all of it.
QUIET_S: Final = 1.0
GIVEN_BACK_WITHIN_S: Final = 5.0
POLL_S: Final = 0.01


class Held(NamedTuple):
    """A letter that is looked at, and what its queue knows it by."""

    original: Original
    handle: Any
    returned: int
    """How often it was handed out before, as far as the broker says."""


class DeadQueue(Protocol):
    """The dead letters. Every method raises `BrokerUnavailable` if the broker goes away."""

    others: int
    """Consumers beside us when it was opened: what they hold cannot be seen."""
    may_drop: bool
    """The broker may be one that throws away what was given back often."""

    def open(self) -> int:
        """Connect, and return how many letters there are to look at."""
        ...

    def look(self) -> Iterator[list[Held]]:
        """Give the letters that were there when it was opened, in portions, each once."""
        ...

    def replay(self, letters: Sequence[tuple[Held, Outgoing]]) -> list[bool]:
        """Publish, await all confirms, and settle what a queue took; say which that is."""
        ...

    def discard(self, letters: Sequence[Held]) -> None:
        """Settle these."""
        ...

    def close(self) -> None:
        """Give back what is not settled."""
        ...

    def abandon(self) -> None:
        """Leave at once, in the middle of whatever; what is not settled stays, too."""
        ...


class RabbitDeadQueue:
    """A `DeadQueue` on RabbitMQ.

    Consumers, and not `basic.get`, which takes fifteen times as long. Without a limit of
    deliveries a quorum queue puts what is given back at its end; so nobody may rely on the
    letters' order, and how many to look at is settled at the beginning.
    """

    def __init__(self, settings: BrokerSettings, name: str) -> None:
        self.others = 0
        self.may_drop = False
        self._topology = Topology(settings.namespace)
        self._patience_s = settings.confirm_timeout_s
        self._link = Link(
            settings,
            name,
            self._on_delivery,
            # A letter has headers that its event had not, so it may be larger.
            partial(connect_amqp, frame_share=1),
        )
        self._publisher = Publisher(Link(settings, f"{name} publisher"), settings.confirm_timeout_s)
        self._arrived: deque[RawDelivery] = deque()
        self._counting: Any = None
        self._channel: Any = None
        self._expected = 0
        self._unsettled: dict[int, None] = {}
        """Tags that came and were not acknowledged, in their order."""
        self._consumers = 0
        self._cancelled = False

    def open(self) -> int:
        """Connect, count, and begin to consume: that shows whether we may, also where none are."""
        self._link.open()
        version = str(self._link.connection.server_properties.get("version", ""))
        self.may_drop = not version.startswith("3.")
        with self._link.call():
            self._counting = self._link.connection.channel()
            self._channel = self._link.connection.channel()
            self._channel.basic_qos(0, PREFETCH, False)  # noqa: FBT003  # per consumer
        self._expected, self.others = self._count()
        self._consume()
        return self._expected

    def look(self) -> Iterator[list[Held]]:
        """Give as many letters as there were, at most; each is held until the end."""
        left = self._expected
        while left and (portion := self._next(min(left, PORTION))):
            left -= len(portion)
            yield portion

    def replay(self, letters: Sequence[tuple[Held, Outgoing]]) -> list[bool]:
        """Publish all, await all confirms, then acknowledge what was routed."""
        self._publisher.open()
        routed = self._publisher.publish(
            [message for _held, message in letters], while_waiting=self._link.tick
        )
        self.discard(
            [held for (held, _), is_there in zip(letters, routed, strict=True) if is_there]
        )
        return routed

    def discard(self, letters: Sequence[Held]) -> None:
        """Acknowledge these, with one multiple-ack as far as nothing below is to stay."""
        done = {held.handle for held in letters}
        highest = 0
        for tag in self._unsettled:
            if tag not in done:
                break
            highest = tag
        with self._link.errors():
            if highest:
                self._channel.basic_ack(highest, multiple=True)
            for tag in sorted(done):
                if tag > highest:
                    self._channel.basic_ack(tag)
                del self._unsettled[tag]
            self._await_channel()

    def close(self) -> None:
        """Give everything back, and wait until the queue has it."""
        self._publisher.close()
        if self._link.is_open and self._consumers:
            with suppress(BrokerUnavailable):
                self._give_back()
        self._link.close()

    def abandon(self) -> None:
        """Leave at once, in the middle of whatever: the broker gives back what is not settled."""
        self._publisher.abandon()
        self._link.discard()

    def _next(self, limit: int) -> list[Held]:
        """Return the next letters; none if all have been handed out, to us or to others."""
        # What takes long must not look dead: looking alone sends nothing.
        self._link.tick()
        self._publisher.tick()
        heard_at = monotonic()
        while not self._arrived:
            self._ask_for_more()
            if self._link.drain(QUIET_S):
                heard_at = monotonic()
                continue
            self._link.tick()
            if self._cancelled:
                self._link.discard()
                raise BrokerUnavailable(
                    f"the broker has ended the reading of {self._topology.dead}"
                )
            ready, _consumers = self._count()
            if not ready and not self._arrived:
                return []
            if monotonic() - heard_at > self._patience_s:
                self._link.discard()
                raise BrokerUnavailable(f"{self._topology.dead} has {ready} letters, sends none")
        while len(self._arrived) < limit and self._link.drain(0):
            pass
        return [self._held(self._arrived.popleft()) for _ in range(min(limit, len(self._arrived)))]

    def _ask_for_more(self) -> None:
        # Full consumers get nothing until something is acknowledged, which may be never.
        if len(self._unsettled) >= PREFETCH * self._consumers:
            self._consume()

    def _consume(self) -> None:
        with self._link.call():
            self._channel.basic_consume(self._topology.dead, on_cancel=self._on_cancel)
        self._consumers += 1

    def _held(self, raw: RawDelivery) -> Held:
        headers = raw.properties.get("application_headers") or {}
        seen = headers.get("x-delivery-count") if raw.redelivered else None
        return Held(
            Original(raw.body, raw.routing_key, raw.properties),
            raw.tag,
            seen if isinstance(seen, int) else int(raw.redelivered),
        )

    def _give_back(self) -> None:
        """End the channel, and see the letters back: whoever looks next is to find them."""
        self._flush()
        _ready, consumers = self._count()
        with self._link.call():
            self._channel.close()
        deadline = monotonic() + GIVEN_BACK_WITHIN_S
        while self._count()[1] > consumers - self._consumers and monotonic() < deadline:
            sleep(POLL_S)

    def _flush(self) -> None:
        """Wait until the queue has every acknowledgement.

        The broker's channel holds them back while the queue is behind, and its end forgets
        them. One more consumer goes through the queue's log, so the answer comes when all that
        was sent before is done. That lets the channel send the rest, before it asks the queue
        for the first count; when the second is answered, the queue has that, too.
        """
        with self._link.call():
            self._channel.basic_qos(0, 1, False)  # noqa: FBT003  # per consumer
            self._consume()
            for _ in range(2):
                self._channel.queue_declare(self._topology.dead, passive=True)

    def _await_channel(self) -> None:
        """Wait until the broker's channel has come so far: what it answers is of no matter."""
        self._channel.basic_qos(0, PREFETCH, False)  # noqa: FBT003  # per consumer

    def _count(self) -> tuple[int, int]:
        with self._link.call():
            found = self._counting.queue_declare(self._topology.dead, passive=True)
        return found.message_count, found.consumer_count

    def _on_delivery(self, raw: RawDelivery) -> None:
        self._unsettled[raw.tag] = None
        self._arrived.append(raw)

    def _on_cancel(self, _consumer_tag: str) -> None:
        self._cancelled = True
