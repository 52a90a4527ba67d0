"""Asking over the embedded mode's streams, and hearing the answers on a stream of one's own."""

from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from secrets import token_hex

from kmworker.domain.message import Original, Outgoing
from kmworker.embedded.request_stream import answers_of
from kmworker.embedded.route import OpenStream, Router
from kmworker.embedded.subscriber import StreamSubscriber
from kmworker.errors import BrokerUnavailable
from kmworker.store.client import Client
from kmworker.wire.requests.request import DIRECT_REPLY
from kmworker.wire.topology import Topology

__all__ = ["StreamAsker"]


class StreamAsker(OpenStream):
    """A `kmworker.client.conversation.Inquiry` on Redis or Valkey streams."""

    def __init__(self, client: Client, namespace: str, own_queues: Sequence[str] = ()) -> None:
        """Prepare; nothing is sent yet.

        Args:
            client: of the server, and nobody else's.
            namespace: of the names.
            own_queues: the client's, of which one is to be listened to; none: nothing is.
        """
        # As RabbitMQ writes the address that it puts in the place of `DIRECT_REPLY`.
        self._address = f"{DIRECT_REPLY}.{token_hex(16)}"
        self._client = client
        self._router = Router(client)
        answers = answers_of(Topology(namespace))
        self._subscriber = StreamSubscriber(client, {answers: [self._address, *own_queues[:1]]})
        self._arrived: deque[Original] = deque()

    @property
    def is_open(self) -> bool:
        """Return whether there is a stream for answers, as far as is known."""
        return self._is_open

    def open(self) -> None:
        """Have a stream for answers; one that nobody has read for long is made anew."""
        self._arrived.clear()
        self._subscriber.open()
        self._is_open = True

    def ask(self, question: Outgoing) -> None:
        """Send a question, whose property `reply_to` is `DIRECT_REPLY`.

        Raises:
            BrokerUnavailable: no key server is there.
        """
        properties = {**question.properties, "reply_to": self._address}
        addressed = Outgoing(question.exchange, question.routing_key, question.body, properties)
        with self._errors():
            is_taken = all(self._router.publish([addressed]))
        if not is_taken:
            raise BrokerUnavailable("no key server is running yet")

    def wait(self, timeout_s: float) -> None:
        """Wait until something has come; another may ask meanwhile."""
        with self._errors():
            self._arrived.extend(self._subscriber.receive(timeout_s))

    def take(self) -> list[Original]:
        """Return the answers that have come; wait for none."""
        found = list(self._arrived)
        for _ in found:
            self._arrived.popleft()
        return found

    def close(self) -> None:
        """Leave; the stream goes with us."""
        self._is_open = False
        # Without the server, or when this fails, the stream ends by itself.
        with suppress(BrokerUnavailable):
            self._subscriber.close()
        self._client.close()
