"""What the broker may send us, and in which order events are tried: one that came back goes alone.

A worker that dies gives back all that it had at hand, and RabbitMQ 4 throws away what came
back 20 times, unless a policy lifts that. So a poison message must have few neighbours. After
a start one event is sent; many, once one came that never came before. An event that came back
waits until all others at hand are settled, and while it is tried no more are sent: those that
came back once go in small groups, those that came back more often one at a time. So whoever
dies again and again gives back what it dies of, and nothing else.

What is held back, because its dead letter is refused, may stay for days: it is put aside.
Nothing waits for it, and where it has used up a consumer's credit, another consumer is started.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final

from kmworker.bus.amqp.link import Link
from kmworker.domain.message import POISON_AT, Delivery

__all__ = ["CAUTIOUS", "NARROW", "Intake"]

NARROW: Final = 1
# A broker that restarts sends every event that was at hand once more: so not one by one.
CAUTIOUS: Final = 32
# For so long it waits for others to be settled; some may be kept back for another reason.
HELD_MOST_S: Final = 1.0


class Intake:
    """A channel that consumes, and what came on it.

    Attributes:
        is_cancelled: the broker has ended the consumer.
        unacknowledged: the tags that came and were not acknowledged, in their order; those that
            are put aside are among them.
    """

    def __init__(
        self, link: Link, queue: str, prefetch: int, monotonic: Callable[[], float]
    ) -> None:
        self.is_cancelled = False
        self.unacknowledged: dict[int, None] = {}
        self._link = link
        self._queue = queue
        self._prefetch = prefetch
        self._monotonic = monotonic
        self._fresh: deque[Delivery] = deque()
        self._returned: deque[Delivery] = deque()
        self._poison: deque[Delivery] = deque()
        self._held_since = 0.0
        self._last_count = POISON_AT
        self._channel: Any = None
        self._consumers: list[str] = []
        self._named = 0
        self._width = 0
        self._aside: set[int] = set()
        self._last_tag = 0
        self._cancelled_to = 0
        """The last tag that came by way of consumers that are no more."""

    def open(self) -> None:
        """Begin to consume on a new channel; what came on the one before is void."""
        self._forget()
        with self._link.call():
            self._channel = self._link.connection.channel()
            self._widen(NARROW)

    def arrived(self, delivery: Delivery) -> None:
        """Take a delivery in."""
        self.unacknowledged[delivery.tag] = None
        self._last_tag = delivery.tag
        count = delivery.delivery_count
        if not count:
            self._fresh.append(delivery)
            return
        if not self._held:
            self._held_since = self._monotonic()
        (self._returned if count < POISON_AT else self._poison).append(delivery)

    @property
    def fresh(self) -> int:
        """Return how many events are at hand that never came before."""
        return len(self._fresh)

    @property
    def has_some(self) -> bool:
        """Return whether `take` would give anything."""
        return bool(self._fresh) or (bool(self._held) and self._is_their_turn())

    def take(self, limit: int) -> list[Delivery]:
        """Take what is next, at most ``limit``."""
        if self._fresh:
            waiting = self._fresh
        elif not self._held or not self._is_their_turn():
            return []
        elif self._returned:
            waiting = self._returned
        else:
            waiting, limit = self._poison, min(limit, 1)
        taken = [waiting.popleft() for _ in range(min(limit, len(waiting)))]
        if taken:
            self._last_count = taken[-1].delivery_count
        return taken

    def put_aside(self, tags: Iterable[int]) -> None:
        """Let nothing wait for these to be acknowledged, which may be long after."""
        self._aside.update(tags)

    def adjust(self) -> None:
        """Let the broker send as many as suit what is at hand.

        Raises:
            BrokerUnavailable: the connection is gone.
        """
        if self._held:
            # Those that came back once may come in small groups; nothing else meanwhile.
            suited = NARROW if self._fresh or self._poison else CAUTIOUS
            if self._width > suited:
                with self._link.call():
                    self._cancel()
            return
        if self._width == self._prefetch:
            return
        wanted = self._wanted()
        # What came back may be what ends us: nothing more before it is settled.
        may_widen = wanted == self._prefetch or not self._at_hand
        if may_widen and (wanted > self._width or self._is_used_up):
            with self._link.call():
                self._widen(wanted)

    def acknowledge(self, tags: Collection[int]) -> None:
        """Acknowledge with one multiple-ack as far as possible, the rest one by one."""
        if self._width == NARROW < self._wanted() and not self._held:
            # More in a moment. As long as this one is at hand, nothing else is on its way.
            with self._link.call():
                self._cancel()
        highest = 0
        for tag in self.unacknowledged:
            if tag not in tags:
                break
            highest = tag
        with self._link.errors():
            if highest:
                self._channel.basic_ack(highest, multiple=True)
            for tag in tags:
                if tag > highest:
                    self._channel.basic_ack(tag)
                del self.unacknowledged[tag]
            self._aside.difference_update(tags)

    @property
    def _at_hand(self) -> int:
        """Return how many events are being handled, or wait here for that."""
        return len(self.unacknowledged) - len(self._aside)

    @property
    def _is_used_up(self) -> bool:
        """Return whether all that consumers may send is put aside; nothing is on its way then."""
        if not self._width or len(self._aside) < self._width:
            return False
        return sum(tag > self._cancelled_to for tag in self._aside) >= self._width

    @property
    def _held(self) -> int:
        return len(self._returned) + len(self._poison)

    def _is_their_turn(self) -> bool:
        is_settled = self._at_hand == self._held
        return is_settled or self._monotonic() - self._held_since > HELD_MOST_S

    def _wanted(self) -> int:
        if self._fresh or not self._last_count:
            return self._prefetch
        return min(CAUTIOUS if self._last_count < POISON_AT else NARROW, self._prefetch)

    def _widen(self, width: int) -> None:
        """Be sent more: by another consumer, since none can be changed.

        The one before it is ended where nothing can be on its way to it: that would go back to
        the queue, and count as a delivery.
        """
        if self._is_used_up or (self._width == NARROW and self._at_hand):
            self._cancel()
        self._consume(width - max(self._width, self._at_hand))
        self._width = width

    def _consume(self, credit: int) -> None:
        # Per consumer, which is what quorum queues know; it holds for consumers to come.
        self._channel.basic_qos(0, max(credit, NARROW), False)  # noqa: FBT003
        self._named += 1
        consumer = f"events-{self._named}"
        self._channel.basic_consume(self._queue, consumer_tag=consumer, on_cancel=self._on_cancel)
        self._consumers.append(consumer)

    def _cancel(self) -> None:
        """Be sent no more; what came stays ours, and its tags hold."""
        while self._consumers:
            self._channel.basic_cancel(self._consumers.pop())
        self._width = 0
        self._cancelled_to = self._last_tag

    def _forget(self) -> None:
        for deliveries in (self._fresh, self._returned, self._poison):
            deliveries.clear()
        self.unacknowledged.clear()
        self._aside.clear()
        self._last_tag = self._cancelled_to = 0
        self.is_cancelled = False
        # Nothing is known of what comes.
        self._last_count = POISON_AT
        self._consumers.clear()
        self._width = 0

    def _on_cancel(self, consumer_tag: str) -> None:
        self.is_cancelled |= consumer_tag in self._consumers
