"""Acting on assignments so that none is missed.

An assignment is acknowledged after it was acted on, never before. A crash in between brings
it again, so acting must bear repetition; what this process remembers is not repeated.
The action is a function and not the body of a loop: a loop cannot tell its source whether
it was left because all was well or because something was raised.
"""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic, sleep
from typing import Any, Final, Self

from kmworker.bus.amqp.frames import RawDelivery
from kmworker.bus.amqp.link import Link
from kmworker.client.assignment import Assignment, Release, read_assignment, read_released
from kmworker.client.connecting import (
    NOT_FOUND,
    Backoff,
    broker_settings,
    check_refusal,
    reply_code,
    with_advice,
)
from kmworker.client.key_change import KeyChange, read_changed
from kmworker.client.seen import Seen
from kmworker.errors import BrokerUnavailable
from kmworker.wire.key_changes import KEY_EVENT_TYPES
from kmworker.wire.releases import RELEASED_TYPE
from kmworker.wire.topology import QUORUM, Topology

__all__ = ["EVERY_ASSIGNMENT", "EVERY_KEY_CHANGE", "EVERY_RELEASE", "Subscriber"]

log = logging.getLogger("kmworker.client")

EVERY_ASSIGNMENT: Final = "key-assigned.#"
EVERY_RELEASE: Final = "key-released.#"
EVERY_KEY_CHANGE: Final = "*.#"
# `stop` is noticed between waits, so no wait is longer than this.
WAIT_SLICE_S: Final = 0.25


class Subscriber:
    """Has a durable queue of its own, and acts on what comes into it.

    Entering it (``with``) waits for the broker, declares the queue where it is missing and
    binds it: whatever is announced from then on arrives, if need be after a restart. An
    existing queue is taken as it is.
    """

    def __init__(  # noqa: PLR0913  # two are needed, the others have defaults that suit
        self,
        url: str | Sequence[str],
        *,
        queue: str,
        bindings: Sequence[str] = (EVERY_ASSIGNMENT,),
        key_bindings: Sequence[str] = (),
        namespace: str = "kmworker",
        prefetch: int = 100,
        remembered: int = 10_000,
    ) -> None:
        """Prepare to subscribe.

        Args:
            url: the broker, e.g. ``amqp://user:password@host:5672/vhost``; or several nodes of
                one cluster, tried in turn.
            queue: the subscriber's own, e.g. ``kmworker.sub.cinder``; processes that name
                the same queue share its assignments between them.
            bindings: patterns of ``key-assigned.<item kind>.<project>``, and of ``key-released.…``.
                They are added to what the queue is bound to already.
            key_bindings: patterns of ``<what has become of a key-id>.<project>``, likewise;
                `EVERY_KEY_CHANGE` is all of them.
            namespace: the workers' setting ``broker.namespace``.
            prefetch: how many assignments the broker sends ahead.
            remembered: a repeat is dropped if it is among the last so many acted on.

        Raises:
            SetupError: the URL or the namespace is none.
        """
        settings = broker_settings(url, namespace)
        topology = Topology(namespace)
        self._queue = queue
        self._bindings = [(topology.assignments, pattern) for pattern in bindings]
        self._bindings += [(topology.keys, pattern) for pattern in key_bindings]
        self._prefetch = prefetch
        self._acted_on = Seen(remembered)
        self._arrived: deque[RawDelivery] = deque()
        self._backoff = Backoff()
        self._link = Link(settings, f"kmworker.client {queue}", self._on_delivery)
        self._channel: Any = None
        self._cancelled = False
        self._stopping = False

    def __enter__(self) -> Self:
        self._until_it_works(self._open_if_closed)
        return self

    def __exit__(self, *_raised: object) -> None:
        self.close()

    def run(
        self,
        act: Callable[[Assignment], object],
        released: Callable[[Release], object] | None = None,
        changed: Callable[[KeyChange], object] | None = None,
    ) -> None:
        """Act on each assignment as it comes, until `stop` is called.

        And on each release, and on what becomes of key-ids, where `bindings` and `key_bindings`
        ask for them; without ``released`` and ``changed`` they are acknowledged, and that is all.

        When ``act`` returns, the assignment is acknowledged. When it raises, `run` raises
        the same, and the assignment stays in the queue to be delivered again. ``act``
        should return within a minute: while it runs, the broker hears nothing from us. It
        may be called twice with one assignment, by another process or after a restart.

        A lost connection is made anew, for as long as it takes.

        Raises:
            SetupError: the broker refuses us.
        """
        try:
            while not self._stopping:
                delivery = self._until_it_works(self._receive)
                if delivery is not None:
                    self._handle(delivery, act, released, changed)
        finally:
            # Also gives back what was sent ahead: somebody else may have time for it.
            self.close()

    def stop(self) -> None:
        """Make `run` return after the assignment at hand; a signal handler may call this."""
        self._stopping = True

    def close(self) -> None:
        """Leave the broker; the queue stays and goes on collecting."""
        self._link.close()

    def _handle(
        self,
        delivery: RawDelivery,
        act: Callable[[Assignment], object],
        released: Callable[[Release], object] | None,
        changed: Callable[[KeyChange], object] | None,
    ) -> None:
        try:
            told = _read(delivery)
        except ValueError as error:
            # No retry makes it readable. If the queue has a dead-letter exchange, it is kept.
            log.error("rejected what is no assignment: %s", error)  # noqa: TRY400  # says it all
            self._answer(delivery, acted=False)
            return
        if told.id not in self._acted_on:
            match told:
                case Assignment():
                    act(told)
                case Release() if released is not None:
                    released(told)
                case KeyChange() if changed is not None:
                    changed(told)
                case Release() | KeyChange():
                    pass
            self._acted_on.add(told.id)
        self._answer(delivery, acted=True)

    def _answer(self, delivery: RawDelivery, *, acted: bool) -> None:
        try:
            with self._link.errors():
                if acted:
                    self._channel.basic_ack(delivery.tag)
                else:
                    self._channel.basic_reject(delivery.tag, requeue=False)
        except BrokerUnavailable as error:
            # It comes again on the next connection, and is dropped as a repeat.
            log.warning("not acknowledged: %s", error)

    def _until_it_works(self, attempt: Callable[[], RawDelivery | None]) -> RawDelivery | None:
        while not self._stopping:
            try:
                result = attempt()
            except BrokerUnavailable as error:
                check_refusal(error)
                self._link.discard()
                wait_s = self._backoff.next_s()
                log.warning("trying again in %.1f s: %s", wait_s, with_advice(error))
                self._pause(wait_s)
            else:
                self._backoff.reset()
                return result
        return None

    def _pause(self, seconds: float) -> None:
        until = monotonic() + seconds
        while not self._stopping and (remaining := until - monotonic()) > 0:
            sleep(min(remaining, WAIT_SLICE_S))

    def _receive(self) -> RawDelivery | None:
        self._open_if_closed()
        # Also where there is enough to do: only what is read shows that the broker is alive.
        self._link.drain(0 if self._arrived else WAIT_SLICE_S)
        if self._cancelled:
            raise BrokerUnavailable(f"the broker has ended the consumption of {self._queue}")
        self._link.tick()
        return self._arrived.popleft() if self._arrived else None

    def _open_if_closed(self) -> None:
        if self._link.is_open:
            return
        self._arrived.clear()
        self._cancelled = False
        self._link.open()
        missing = not self._is_there()
        if missing:
            # The broker's answer has cost us the connection, once in the life of the queue.
            self._link.open()
        with self._link.call():
            self._channel = self._link.connection.channel()
            if missing:
                self._channel.queue_declare(
                    self._queue, durable=True, auto_delete=False, arguments=dict(QUORUM)
                )
            for exchange, pattern in self._bindings:
                self._channel.queue_bind(self._queue, exchange, pattern)
            self._channel.basic_qos(0, self._prefetch, False)  # noqa: FBT003  # per consumer
            self._channel.basic_consume(self._queue, on_cancel=self._on_cancel)

    def _is_there(self) -> bool:
        try:
            with self._link.call():
                channel = self._link.connection.channel()
                channel.queue_declare(self._queue, passive=True)
                channel.close()
        except BrokerUnavailable as error:
            if reply_code(error) != NOT_FOUND:
                raise
            return False
        return True

    def _on_delivery(self, delivery: RawDelivery) -> None:
        self._arrived.append(delivery)

    def _on_cancel(self, _consumer_tag: str) -> None:
        self._cancelled = True


def _read(delivery: RawDelivery) -> Assignment | Release | KeyChange:
    kind = delivery.routing_key.partition(".")[0]
    if kind in KEY_EVENT_TYPES:
        return read_changed(delivery.body)
    return read_released(delivery.body) if kind == RELEASED_TYPE else read_assignment(delivery.body)
