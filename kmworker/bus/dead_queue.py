"""Looking through the dead letters so that none is lost, whenever the looking ends.

Nothing is taken out of the queue before it is settled. On RabbitMQ what is shown is held
unacknowledged and given back by the channel's end, however that comes about; streams hold
nothing, since reading takes nothing away. A dead letter is made an event again in this order:
published, confirmed, acknowledged. A crash in between repeats the event, which is harmless.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from time import monotonic, sleep
from typing import Any, Final, NamedTuple, Protocol

from amqp.exceptions import AccessRefused

from kmworker.bus.amqp.frames import RawDelivery
from kmworker.bus.amqp.link import Link
from kmworker.bus.publisher import Publisher
from kmworker.domain.message import Original, Outgoing
from kmworker.errors import BrokerUnavailable, SetupError
from kmworker.settings import BrokerSettings
from kmworker.wire.topology import Topology

__all__ = ["Browsed", "DeadQueue", "RabbitDeadQueue"]

PAGE_SIZE: Final = 100
"""Dead letters at a time: with bodies of 64 KiB a few megabytes."""
# A quorum queue hands 2000 to one consumer at most; when one is full, another one goes on.
# Fewer, because as many are read ahead: with bodies of 64 KiB 32 MiB.
PREFETCH: Final = 500
# A queue that has nothing ready and sends nothing for so long has sent all of it.
QUIET_S: Final = 1.0
GIVEN_BACK_WITHIN_S: Final = 5.0
POLL_S: Final = 0.01


class Browsed(NamedTuple):
    """A dead letter that is looked at, and what its queue knows it by."""

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
        """Connect, and return how many dead letters there are to look at."""

    def browse(self) -> Iterator[list[Browsed]]:
        """Give the dead letters that were there when it was opened, in pages, each once."""

    def replay(self, dead_letters: Sequence[tuple[Browsed, Outgoing]]) -> list[bool]:
        """Publish, await all confirms, and settle what a queue took; say which that is."""

    def discard(self, dead_letters: Sequence[Browsed]) -> None:
        """Settle these."""

    def close(self) -> None:
        """Give back what is not settled."""

    def abandon(self) -> None:
        """Leave at once, in the middle of whatever; what is not settled stays, too."""


class RabbitDeadQueue:
    """A `DeadQueue` on RabbitMQ.

    Consumers, and not `basic.get`, which takes fifteen times as long. Without a limit of
    deliveries a quorum queue puts what is given back at its end; so nobody may rely on the
    dead letters' order, and how many to look at is settled at the beginning.
    """

    def __init__(self, settings: BrokerSettings, name: str, user: str | None = None) -> None:
        self.others = 0
        self.may_drop = False
        self._topology = Topology(settings.namespace)
        self._patience_s = settings.confirm_timeout_s
        self._link = Link(settings, name, self._on_delivery)
        self._publisher = Publisher(
            Link(settings, f"{name} publisher"), settings.confirm_timeout_s, signs=True, user=user
        )
        self._arrived: deque[RawDelivery] = deque()
        self._counting: Any = None
        self._channel: Any = None
        self._expected = 0
        self._unsettled: dict[int, None] = {}
        """Tags that came and were not acknowledged, in their order."""
        self._consumers = 0
        self._credit = 0
        """How many dead letters the consumers may hold."""
        self._has_settled = False
        self._cancelled = False

    def open(self) -> int:
        """Connect, count, and begin to consume: that shows whether we may, also where none are."""
        self._link.open()
        version = str(self._link.connection.server_properties.get("version", ""))
        self.may_drop = not version.startswith("3.")
        with self._link.call():
            self._counting = self._link.connection.channel()
            self._channel = self._link.connection.channel()
        self._expected, self.others = self._count()
        # Each is handed out once more by being sent: one tells whether the others may be.
        self._consume(1 if self.may_drop else PREFETCH)
        return self._expected

    def browse(self) -> Iterator[list[Browsed]]:
        """Give as many dead letters as there were, at most; each is held until the end."""
        left = self._expected
        while left and (page := self._next(min(left, PAGE_SIZE))):
            left -= len(page)
            yield page

    def replay(self, dead_letters: Sequence[tuple[Browsed, Outgoing]]) -> list[bool]:
        """Publish all, await all confirms, then acknowledge what was routed."""
        self._publisher.open()
        routed = self._publisher.publish(
            [message for _browsed, message in dead_letters], while_waiting=self._link.tick
        )
        self.discard(
            [
                browsed
                for (browsed, _), is_there in zip(dead_letters, routed, strict=True)
                if is_there
            ]
        )
        return routed

    def discard(self, dead_letters: Sequence[Browsed]) -> None:
        """Acknowledge these, with one multiple-ack as far as nothing below is to stay."""
        self._has_settled = True
        done = {browsed.handle for browsed in dead_letters}
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

    def _next(self, limit: int) -> list[Browsed]:
        """Return the next dead letters; none if all have been handed out, to us or to others."""
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
                # Handed out is not sent: what is large is read from disk first. One more consumer
                # goes through the queue's log, so its answer comes behind all of it; but the
                # broker's channel awaits that answer, and passes on what came meanwhile later.
                self._consume()
                with self._link.call():
                    self._await_channel()
                if not self._arrived:
                    return []
            if monotonic() - heard_at > self._patience_s:
                self._link.discard()
                raise BrokerUnavailable(
                    f"{self._topology.dead} has {ready} dead letters, sends none"
                )
        while len(self._arrived) < limit and self._link.drain(0):
            pass
        return [
            self._browsed(self._arrived.popleft()) for _ in range(min(limit, len(self._arrived)))
        ]

    def _ask_for_more(self) -> None:
        # Full consumers get nothing until something is acknowledged, which may be never.
        if len(self._unsettled) >= self._credit:
            self._consume()

    def _consume(self, credit: int = PREFETCH) -> None:
        with self._link.call():
            self._channel.basic_qos(0, credit, False)  # noqa: FBT003  # per consumer
            self._channel.basic_consume(self._topology.dead, on_cancel=self._on_cancel)
        self._consumers += 1
        self._credit += credit

    def _browsed(self, raw: RawDelivery) -> Browsed:
        return Browsed(
            Original(raw.body, raw.routing_key, raw.properties, raw.dropped),
            raw.tag,
            raw.delivery_count,
        )

    def _give_back(self) -> None:
        """End the channel, and see the dead letters back: whoever looks next is to find them."""
        if self._has_settled:
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
            self._consume(1)
            for _ in range(2):
                self._channel.queue_declare(self._topology.dead, passive=True)

    def _await_channel(self) -> None:
        """Wait until the broker's channel has come so far: what it answers is of no matter."""
        self._channel.basic_qos(0, PREFETCH, False)  # noqa: FBT003  # per consumer

    def _count(self) -> tuple[int, int]:
        try:
            with self._link.call(but=AccessRefused):
                found = self._counting.queue_declare(self._topology.dead, passive=True)
        except AccessRefused as refused:
            raise SetupError(
                f"this user may not look at {self._topology.dead}: {refused.reply_text}",
                "grant read on it; RabbitMQ 4.2.6 and 4.3.0 want configure, too: upgrade these",
            ) from None
        return found.message_count, found.consumer_count

    def _on_delivery(self, raw: RawDelivery) -> None:
        self._unsettled[raw.tag] = None
        self._arrived.append(raw)

    def _on_cancel(self, _consumer_tag: str) -> None:
        self._cancelled = True
