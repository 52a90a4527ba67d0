"""The outside's ends of both brokers, where somebody also hears what becomes of key-ids."""

from collections.abc import Callable
from typing import Final

from kmworker.domain.message import Original
from kmworker.embedded.route import Router
from kmworker.store.client import connect_to
from kmworker.wire.key_changes import KEY_EVENT_TYPES
from kmworker.wire.topology import EVERYTHING
from tests.chaos.annals import Annals
from tests.chaos.streams_end import TIMEOUT_S, StreamsEnd
from tests.kit.outside.client import connected, delivery_of
from tests.kit.parties.amqp_end import QUORUM, AmqpEnd, AmqpLine
from tests.kit.parties.sides import Lost

KEYS: Final = "keys"
RELEASED: Final = "key-released.#"


class KeyAmqpEnd(AmqpEnd):
    """RabbitMQ's."""

    heard: Annals

    def __init__(self, url_of: Callable[[str], str], namespace: str) -> None:
        super().__init__(url_of, namespace)
        self.heard = Annals()

    def queues(self) -> list[str]:
        return [*super().queues(), self._queue(KEYS)]

    def _bind(self) -> None:
        super()._bind()
        with (
            connected(self.url_of, self.namespace) as client,
            client.connection("subscriber").channel() as channel,
        ):
            queue = self._queue("assignments")
            channel.queue_bind(queue, f"{self.namespace}.assignments", RELEASED)
            queue = self._queue(KEYS)
            channel.queue_declare(queue, durable=True, arguments=dict(QUORUM))
            for event_type in KEY_EVENT_TYPES:
                channel.queue_bind(queue, f"{self.namespace}.{KEYS}", f"{event_type}.#")

    def _line(self) -> AmqpLine:
        # Attachments are believed of those alone whom the policy names.
        return AmqpLine(self.url_of, self.namespace, signs=True)

    def _listening_line(self) -> AmqpLine:
        line = super()._listening_line()
        try:
            line.hear(self._queue(KEYS), self.heard.take_change)
        except Lost:
            line.close()
            raise
        return line


class KeyStreamsEnd(StreamsEnd):
    """The streams'."""

    heard: Annals

    def __init__(self, url_of: Callable[[str], str], namespace: str) -> None:
        super().__init__(url_of, namespace)
        self.heard = Annals()
        self.positions[self._queue(KEYS)] = "0"

    def take(self, stream: str, entry: bytes, original: Original) -> None:
        if stream != self._queue(KEYS):
            super().take(stream, entry, original)
            return
        told = delivery_of(original.body, original.routing_key, original.properties)
        self.heard.take_change(told)
        self.positions[stream] = entry

    def _bind(self) -> None:
        super()._bind()
        with connect_to(self.url_of("producer"), TIMEOUT_S) as client:
            queue = self._queue(KEYS)
            Router(client).bind(f"{self.namespace}.{KEYS}", EVERYTHING, queue, alive_s=None)
