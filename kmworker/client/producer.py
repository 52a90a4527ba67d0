"""Publishing so that nothing is lost: persistent, mandatory, confirmed, and again if need be.

Publishing an event twice is harmless, since its effect is exactly once per item. So where
a confirm is missing, the event is simply published again, with the same id.
"""

import logging
from collections.abc import Iterator, Sequence
from time import monotonic, sleep
from typing import Final, Self

from kmworker.bus.amqp.link import Link
from kmworker.bus.publisher import Publisher
from kmworker.client.connecting import (
    NOT_FOUND,
    Backoff,
    broker_settings,
    check_refusal,
    reply_code,
    with_advice,
)
from kmworker.domain.event import Unreadable
from kmworker.domain.message import Outgoing
from kmworker.errors import BrokerUnavailable, PermanentError, TransientError
from kmworker.wire.events.lifecycle import LifecycleEvent
from kmworker.wire.events.reading import parse
from kmworker.wire.properties import CLOUD_EVENT, PERSISTENT
from kmworker.wire.topology import Topology

__all__ = ["Producer", "Unrouted"]

log = logging.getLogger("kmworker.client")

# So many wait for their confirms together; more would only fill buffers.
IN_FLIGHT: Final = 500


class Unrouted(TransientError):
    """The broker is there, but no queue of kmworker's: no worker has declared it yet."""


class Producer:
    """Publishes lifecycle events. One thread at a time may use it."""

    def __init__(
        self,
        url: str | Sequence[str],
        *,
        event_source: str,
        namespace: str = "kmworker",
        patience_s: float = 60.0,
        user: str | None = None,
    ) -> None:
        """Prepare to publish; the connection is made when there is something to say.

        Args:
            url: the broker, e.g. ``amqp://user:password@host:5672/vhost``; or several nodes of
                one cluster, tried in turn.
            event_source: who is speaking, the CloudEvents ``source``, e.g. ``/cinder/blk01``.
            namespace: the workers' setting ``broker.namespace``.
            patience_s: for so long, `publish` begins another try when one has failed.
            user: what the broker calls you (`user_id`), where that is not the URL's user: with a
                certificate alone, or a token. Empty: nothing is said of it.

        Raises:
            SetupError: the URL or the namespace is none.
        """
        settings = broker_settings(url, namespace)
        self._event_source = event_source
        self._exchange = Topology(namespace).events
        self._patience_s = patience_s
        link = Link(settings, f"kmworker.client {event_source}")
        self._publisher = Publisher(link, settings.confirm_timeout_s, signs=True, user=user)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        self.close()

    def publish(self, *events: LifecycleEvent) -> None:
        """Publish events, and return when the broker has all of them on disk.

        If it raises, some may have been published. Publish the same objects again: they
        keep their ids, and repeats change nothing.

        Raises:
            PermanentError: a worker would refuse one of them; nothing was published.
            BrokerUnavailable: the broker is away, or did not confirm in time.
            Unrouted: nobody would receive them, because no worker has ever run.
            SetupError: the broker refuses us.
        """
        messages = [self._message(event) for event in events]
        for batch in _batches(messages):
            self._publish_patiently(batch)

    def close(self) -> None:
        """Leave the broker; the next `publish` connects again."""
        self._publisher.close()

    def _message(self, event: LifecycleEvent) -> Outgoing:
        body = event.body(self._event_source)
        read = parse(body, CLOUD_EVENT, event.type)
        if isinstance(read, Unreadable):
            raise PermanentError(read.reason, read.detail)
        properties = {
            "content_type": CLOUD_EVENT,
            "delivery_mode": PERSISTENT,
            "message_id": event.id,
            "type": event.type,
        }
        return Outgoing(self._exchange, event.type, body, properties)

    def _publish_patiently(self, messages: Sequence[Outgoing]) -> None:
        give_up_at = monotonic() + self._patience_s
        backoff = Backoff()
        warned = ""
        while True:
            try:
                return self._publish(messages)
            except BrokerUnavailable as lost:
                self._check(lost)
                error = with_advice(lost)
                wait_s = backoff.next_s()
                if monotonic() + wait_s > give_up_at:
                    raise error from lost.__cause__
            if str(error) != warned:
                # Whoever waits for us should know for what.
                warned = str(error)
                log.warning("trying again for %.0f s: %s", give_up_at - monotonic(), error)
            sleep(wait_s)

    def _publish(self, messages: Sequence[Outgoing]) -> None:
        # Between two events the broker may have left: better noticed before than after.
        self._publisher.tick()
        self._publisher.open()
        routed = self._publisher.publish(messages)
        if not all(routed):
            raise Unrouted(f"no queue is bound to {self._exchange}: has a worker ever run?")

    def _check(self, error: BrokerUnavailable) -> None:
        check_refusal(error)
        if reply_code(error) == NOT_FOUND:
            raise Unrouted(f"there is no {self._exchange}: has a worker ever run?") from error


def _batches(messages: Sequence[Outgoing]) -> Iterator[Sequence[Outgoing]]:
    for start in range(0, len(messages), IN_FLIGHT):
        yield messages[start : start + IN_FLIGHT]
