"""The outside's end of the streams that are the embedded mode's broker.

Their layout is no promise to anybody, so this end speaks through the product's own router,
and knows that a queue is a stream. All that is checked afterwards is the contract.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from redis.exceptions import RedisError

from kmworker.domain.message import Original, Outgoing
from kmworker.embedded.route import Router, read_entry
from kmworker.errors import BrokerUnavailable
from kmworker.store.client import Client, connect_to
from kmworker.wire.topology import EVERYTHING, Topology
from tests.kit.outside.client import delivery_of, properties_in
from tests.kit.outside.words import Message
from tests.kit.parties.end import EXCHANGES, End
from tests.kit.parties.sides import Lost

TIMEOUT_S: Final = 5.0
LISTEN_MS: Final = 100
MAX_READ: Final = 500


@dataclass(slots=True)
class StreamLine:
    """One connection, for the thread that uses it."""

    client: Client
    topology: Topology
    end: "StreamsEnd | None" = None

    def publish(self, message: Message) -> bool:
        outgoing = Outgoing(
            self.topology.events, message.routing_key, message.body, properties_in(message)
        )
        try:
            (routed,) = Router(self.client).publish([outgoing])
        except BrokerUnavailable as error:
            raise Lost from error
        return routed

    def listen(self) -> None:
        if self.end is None:
            self._wait()
            return
        redis: Any = self.client
        try:
            found = redis.xread(self.end.positions, count=MAX_READ, block=LISTEN_MS) or []
        except RedisError as error:
            raise Lost from error
        for stream, entries in found:
            for entry, fields in entries:
                self.end.take(stream.decode(), entry, read_entry(fields))

    def close(self) -> None:
        self.client.close()

    def _wait(self) -> None:
        redis: Any = self.client
        try:
            redis.xread({f"{self.topology.namespace}.nothing": "$"}, block=LISTEN_MS)
        except RedisError as error:
            raise Lost from error


class StreamsEnd(End):
    """All that the outside does with the streams."""

    def __init__(self, url_of: Callable[[str], str], namespace: str) -> None:
        super().__init__(url_of, namespace)
        self.positions: dict[str, bytes | str] = {self._queue(it): "0" for it in EXCHANGES}
        """The last entry that was read of each queue."""

    def ready(self, queue: str) -> int:
        """How many messages are in one of the product's queues, with a worker or not."""
        with connect_to(self.url_of("producer"), TIMEOUT_S) as client:
            length = client.xlen(f"{self.namespace}.{queue}")
            assert isinstance(length, int)
            return length

    def take(self, stream: str, entry: bytes, original: Original) -> None:
        delivery = delivery_of(original.body, original.routing_key, original.properties)
        if stream == self._queue("assignments"):
            self.heard.take_assignment(delivery)
        else:
            self.heard.take_letter(delivery)
        self.positions[stream] = entry

    def _bind(self) -> None:
        with connect_to(self.url_of("producer"), TIMEOUT_S) as client:
            for exchange in EXCHANGES:
                name = f"{self.namespace}.{exchange}"
                Router(client).bind(name, EVERYTHING, self._queue(exchange), alive_s=None)

    def _line(self) -> StreamLine:
        return StreamLine(connect_to(self.url_of("producer"), TIMEOUT_S), Topology(self.namespace))

    def _listening_line(self) -> StreamLine:
        return StreamLine(
            connect_to(self.url_of("producer"), TIMEOUT_S), Topology(self.namespace), self
        )
