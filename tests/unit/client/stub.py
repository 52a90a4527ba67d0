"""A broker with one queue, as a subscriber's link sees it: what is not acknowledged comes again."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from kmworker.bus.amqp.frames import RawDelivery
from kmworker.errors import BrokerUnavailable

NOT_FOUND = 404


class Refusal(Exception):
    """The broker's answer to something that it does not do; py-amqp's carry a code, too."""

    def __init__(self, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code


class StubBroker:
    """What happens on it is written down; what goes wrong on it, a test says beforehand."""

    def __init__(self, *bodies: bytes) -> None:
        self.ready = deque(bodies)
        self.unacknowledged: dict[int, bytes] = {}
        self.acknowledged: list[bytes] = []
        self.rejected: list[bytes] = []
        self.queue_exists = True
        self.declared: list[Mapping[str, object]] = []
        self.bound: list[tuple[str, str, str]] = []
        self.prefetch = 0
        self.connections = 0
        self.calls: list[str] = []
        self.refusals: dict[str, deque[int]] = {}
        """Codes to answer the next calls of a method with; 0 loses the connection."""
        self.when_idle: Callable[[], None] = lambda: None
        self.link: StubLink | None = None
        self._tag = 0

    def connect(self, on_delivery: Callable[[RawDelivery], None]) -> "StubLink":
        """Take the place of `Link`."""
        self.link = StubLink(self, on_delivery)
        return self.link

    def lose_connection(self) -> None:
        """Cut it, as a broker's restart would: what was delivered is delivered again."""
        assert self.link is not None
        self.link.discard()

    def answer(self, method: str) -> None:
        """Refuse a call, or lose the connection instead of answering."""
        codes = self.refusals.get(method)
        if codes:
            code = codes.popleft()
            raise Refusal(code) if code else OSError("connection reset")

    def deliver(self, to: Callable[[RawDelivery], None]) -> bool:
        """Deliver the next message."""
        if not self.ready:
            return False
        body = self.ready.popleft()
        # Tags begin anew on each channel, so an old one is another message's.
        self._tag += 1
        self.unacknowledged[self._tag] = body
        to(RawDelivery(self._tag, redelivered=False, routing_key="", properties={}, body=body))
        return True

    def requeue(self) -> None:
        """Put back what was not acknowledged, in order."""
        self.ready.extendleft(reversed(self.unacknowledged.values()))
        self.unacknowledged.clear()
        self._tag = 0

    def settle(self, tag: int, into: list[bytes]) -> None:
        """Take a message off the queue."""
        into.append(self.unacknowledged.pop(tag))


class StubLink:
    """A `Link` to a `StubBroker`."""

    def __init__(self, broker: StubBroker, on_delivery: Callable[[RawDelivery], None]) -> None:
        self._broker = broker
        self._on_delivery = on_delivery
        self.connection: StubConnection | None = None

    @property
    def is_open(self) -> bool:
        """Return whether nothing has gone wrong yet."""
        return self.connection is not None

    def open(self) -> None:
        """Connect."""
        with self.errors():
            self._broker.answer("open")
        self._broker.connections += 1
        self.connection = StubConnection(self._broker)

    def drain(self, timeout_s: float) -> bool:
        """Deliver one message at a time, so that a lost connection finds some undelivered."""
        self._broker.calls.append("drain")
        with self.errors():
            self._broker.answer("drain")
        if self._broker.deliver(self._on_delivery):
            return True
        if timeout_s:
            self._broker.when_idle()
        return False

    def tick(self) -> None:
        """Send a heartbeat."""
        self._broker.calls.append("tick")

    def discard(self) -> None:
        """Drop the connection."""
        self.connection = None
        self._broker.requeue()

    close = discard

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn whatever happens to the connection into its end."""
        try:
            yield
        except (Refusal, OSError, AttributeError) as error:
            self.discard()
            raise BrokerUnavailable(str(error)) from error

    call = errors
    """Answers come at once here."""


class StubConnection:
    """Both the connection and its only channel."""

    def __init__(self, broker: StubBroker) -> None:
        self._broker = broker

    def channel(self) -> "StubConnection":
        """Open a channel."""
        return self

    def close(self) -> None:
        """Close the channel."""

    def queue_declare(self, queue: str, *, passive: bool = False, **how: object) -> None:
        """Declare a queue, or ask for it."""
        self._broker.answer("queue_declare")
        if passive and not self._broker.queue_exists:
            raise Refusal(NOT_FOUND)
        if not passive:
            self._broker.declared.append({"queue": queue, **how})
            self._broker.queue_exists = True

    def queue_bind(self, queue: str, exchange: str, routing_key: str) -> None:
        """Bind a queue."""
        self._broker.answer("queue_bind")
        self._broker.bound.append((queue, exchange, routing_key))

    def basic_qos(self, _size: int, count: int, _a_global: bool) -> None:
        """Limit what is sent ahead."""
        self._broker.prefetch = count

    def basic_consume(self, _queue: str, on_cancel: Callable[[str], None]) -> None:
        """Start to deliver."""
        self.cancel = on_cancel

    def basic_ack(self, tag: int) -> None:
        """Acknowledge one message."""
        self._check_open()
        self._broker.answer("basic_ack")
        self._broker.settle(tag, self._broker.acknowledged)

    def basic_reject(self, tag: int, *, requeue: bool) -> None:
        """Reject one message."""
        self._check_open()
        assert not requeue
        self._broker.settle(tag, self._broker.rejected)

    def _check_open(self) -> None:
        if self._broker.link is None or self._broker.link.connection is not self:
            raise OSError("on a connection that is gone")
