"""RabbitMQ behind the `Bus` port: two connections, one consuming, one publishing.

A broker short of memory stops reading from publishers. With connections of their own,
acknowledgements still get through. Callbacks only append: nothing is decoded,
published or acknowledged inside py-amqp's dispatch, where publishing would recurse.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import structlog
from amqp import spec
from amqp.exceptions import AccessRefused

from kmworker.bus.amqp.brokers import Brokers
from kmworker.bus.amqp.frames import RawDelivery
from kmworker.bus.amqp.link import Connect, Link, connect_amqp
from kmworker.bus.amqp.transport import wait_for_any
from kmworker.bus.anchor_queue import AnchorQueue
from kmworker.bus.declaring import Declaring
from kmworker.bus.intake import Intake
from kmworker.bus.policies import limits_deliveries
from kmworker.bus.publisher import Confirms, Publisher
from kmworker.domain.message import Confirm, Delivery, Original, Outgoing
from kmworker.errors import BrokerUnavailable, NotCounted
from kmworker.ports import Pending, QueueCounts
from kmworker.settings import BrokerSettings
from kmworker.settings.urls import redacted_url
from kmworker.wire.topology import Topology

__all__ = ["RabbitBus"]

log = structlog.get_logger()

# A signal's handler runs between waits, so no wait is longer than this.
WAIT_SLICE_S: Final = 0.25
# Nobody tells us that an exchange was deleted from which we publish nothing.
NAMES_CHECKED_S: Final = 10.0


class RabbitBus:
    """A `Bus` on RabbitMQ 3.10 or newer."""

    def __init__(  # noqa: PLR0913  # network and time among them, so that a test can bring its own
        self,
        settings: BrokerSettings,
        *,
        prefetch: int,
        name: str,
        connect: Connect = connect_amqp,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        wait_for_any: Callable[[Sequence[Any], float], None] = wait_for_any,
    ) -> None:
        self.generation = 0
        self._topology = Topology(settings.namespace)
        self._names = Declaring(self._topology)
        self._names_due_at = 0.0
        self._monotonic = monotonic
        self._wait_for_any = wait_for_any
        brokers = Brokers(settings.addresses, _say_which)
        self._link = Link(settings, f"{name} consumer", self._on_delivery, connect, brokers)
        self._publisher = Publisher(
            Link(settings, f"{name} publisher", connect=connect, brokers=brokers),
            settings.confirm_timeout_s,
            monotonic,
        )
        self._anchor = AnchorQueue(self._link, self._topology, sleep)
        self._intake = Intake(self._link, self._topology.work, prefetch, monotonic)
        self._counting: Any = None
        self._may_count = True
        # Who has given doctor the means asks doctor.
        self._is_warned = settings.management_url is not None

    def open(self) -> None:
        """Connect what is not connected, ensure the topology, start consuming."""
        if not self._link.is_open:
            self._open_consumer()
        elif not self._publisher.is_open:
            # It is lost by publishing to an exchange that is gone, too.
            self._check_names()
            self._anchor.open()
        self._publisher.open()

    def receive(self, limit: int, timeout_s: float) -> list[Delivery]:
        """Take what has been delivered, at most ``limit``."""
        if self._intake.is_cancelled:
            self._link.discard()
            raise BrokerUnavailable(f"the broker cancelled the consumer of {self._topology.work}")
        self._intake.adjust()
        if not self._intake.has_some:
            self._wait(min(timeout_s, WAIT_SLICE_S))
            self._intake.adjust()
        while self._intake.fresh < limit and self._link.drain(0):
            pass
        return self._intake.take(limit)

    def send(self, messages: Sequence[Outgoing]) -> Pending[list[Confirm]]:
        """Publish all; what is returned waits for all confirms together."""
        return Confirms(self._publisher, self._publisher.send(messages), self._tick_consumer)

    def renew(self) -> None:
        """Publish on a new channel from now on."""
        self._publisher.renew()

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge with one multiple-ack as far as possible, the rest one by one."""
        self._intake.acknowledge(self._tags(deliveries))

    def put_aside(self, deliveries: Sequence[Delivery]) -> None:
        """Keep these unacknowledged, and let nothing wait for them."""
        self._intake.put_aside(self._tags(deliveries))

    def counts(self) -> QueueCounts:
        """Look at the queues; now and then, also at all other names."""
        if self._monotonic() >= self._names_due_at:
            self._check_names()
        work, consumers = self._count(self._topology.work)
        dead, _subscribers = self._count(self._topology.dead)
        return QueueCounts(work, dead, consumers)

    def anchor(self, choose: Callable[[list[bytes]], bytes]) -> None:
        """Replace the anchor, on a broker that keeps one for us."""
        self._anchor.swap(choose, lambda messages: self.send(messages).result())

    def tick(self) -> None:
        """Keep idle connections alive."""
        self._tick_consumer()
        self._publisher.tick()

    def close(self) -> None:
        """Leave; the broker delivers again whatever is unacknowledged."""
        self._publisher.close()
        self._link.close()

    def _wait(self, timeout_s: float) -> None:
        """Wait for what comes first, on either connection if confirms are awaited."""
        if timeout_s and self._publisher.is_awaiting:
            with self._link.errors():
                self._wait_for_any([self._link.connection, self._publisher.connection], timeout_s)
            # Also those that nobody asks for any more: they would end the next waiting, too.
            self._publisher.take_in()
            timeout_s = 0.0
        self._link.drain(timeout_s)

    def _tick_consumer(self) -> None:
        self._link.tick()
        # Reading is what shows that the broker is alive; prefetch bounds what comes.
        while self._link.is_open and self._link.drain(0):
            pass

    def _open_consumer(self) -> None:
        self._link.open()
        self._check_names()
        self._anchor.open()
        self.generation += 1
        self._warn_of_limit()
        with self._link.call():
            self._counting = self._link.connection.channel()
        self._may_count = True
        self._intake.open()

    def _warn_of_limit(self) -> None:
        """Say once what a broker may do whose policies cannot be seen from here."""
        version = str(self._link.connection.server_properties.get("version", ""))
        if self._is_warned or not limits_deliveries(version):
            return
        self._is_warned = True
        log.warning(
            "this RabbitMQ may throw away what came back 20 times",
            version=version,
            unless="the policies of config/rabbitmq/definitions.json are set: kmworker doctor",
        )

    def _check_names(self) -> None:
        self._names_due_at = self._monotonic() + NAMES_CHECKED_S
        with self._link.call():
            try:
                self._names.ensure(self._link.connection)
            except BrokerUnavailable:
                self._link.discard()
                raise

    def _on_delivery(self, raw: RawDelivery) -> None:
        self._intake.arrived(
            Delivery(
                original=Original(raw.body, raw.routing_key, raw.properties, raw.dropped),
                tag=raw.tag,
                generation=self.generation,
                received_at=self._monotonic(),
                delivery_count=raw.delivery_count,
            )
        )

    def _tags(self, deliveries: Sequence[Delivery]) -> set[int]:
        """Return the tags of those that are ours and unacknowledged."""
        unacknowledged = self._intake.unacknowledged
        return {
            delivery.tag
            for delivery in deliveries
            if delivery.generation == self.generation and delivery.tag in unacknowledged
        }

    def _count(self, queue: str) -> tuple[int, int]:
        if not self._may_count:
            raise NotCounted(f"this user may not look at {queue}")
        try:
            return self._asked(queue)
        except AccessRefused as refused:
            # Not again on this connection: a broker logs each refusal.
            self._may_count = False
            raise NotCounted(str(refused)) from None

    def _asked(self, queue: str) -> tuple[int, int]:
        with self._link.call(but=AccessRefused):
            self._counting.send_method(
                spec.Queue.Declare, "BsbbbbbF", (0, queue, True, False, False, False, False, {})
            )
            _name, messages, consumers = self._counting.wait(
                spec.Queue.DeclareOk, returns_tuple=True
            )
            return messages, consumers


def _say_which(url: str) -> None:
    log.info("next broker", broker=redacted_url(url))
