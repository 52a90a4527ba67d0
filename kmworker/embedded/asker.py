"""Asking over the embedded mode's streams, and hearing the answers on a stream of one's own."""

from contextlib import suppress
from secrets import token_hex
from typing import Final

from kmworker.domain.message import Original, Outgoing
from kmworker.embedded.request_stream import answers_of
from kmworker.embedded.route import Router
from kmworker.embedded.subscriber import StreamSubscriber
from kmworker.errors import BrokerUnavailable
from kmworker.store.client import Client
from kmworker.wire.requests.request import DIRECT_REPLY
from kmworker.wire.topology import Topology

__all__ = ["StreamAsker"]

# A signal's handler runs between waits, so no wait is longer than this.
WAIT_SLICE_S: Final = 0.25


class StreamAsker:
    """A `kmworker.client.keys.Inquiry` on Redis or Valkey streams."""

    def __init__(self, client: Client, namespace: str) -> None:
        """Prepare; nothing is sent yet.

        Args:
            client: of the server, and nobody else's.
            namespace: of the names.
        """
        # As RabbitMQ writes the address that it puts in the place of `DIRECT_REPLY`.
        self._address = f"{DIRECT_REPLY}.{token_hex(16)}"
        self._client = client
        self._router = Router(client)
        answers = answers_of(Topology(namespace))
        self._subscriber = StreamSubscriber(client, {answers: [self._address]})

    def open(self) -> None:
        """Have a stream for answers; one that nobody has read for long is made anew."""
        self._subscriber.open()

    def ask(self, question: Outgoing) -> None:
        """Send a question, whose property `reply_to` is `DIRECT_REPLY`.

        Raises:
            BrokerUnavailable: no key server is there.
        """
        properties = {**question.properties, "reply_to": self._address}
        addressed = Outgoing(question.exchange, question.routing_key, question.body, properties)
        if not all(self._router.publish([addressed])):
            raise BrokerUnavailable("no key server is running yet")

    def receive(self, timeout_s: float) -> list[Original]:
        """Return the answers that have come; wait up to ``timeout_s`` for the first."""
        return self._subscriber.receive(min(timeout_s, WAIT_SLICE_S))

    def discard(self) -> None:
        """Leave without a word."""
        self._client.drop_connections()

    def close(self) -> None:
        """Leave; the stream goes with us."""
        # Without the server, or when this fails, the stream ends by itself.
        with suppress(BrokerUnavailable):
            self._subscriber.close()
        self._client.close()
