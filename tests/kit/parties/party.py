"""Somebody who does harm beside the honest, with an account and in a thread of their own."""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from random import Random
from threading import Event
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import amqp

from tests.kit.outside.heard import Outside
from tests.kit.outside.history import Sent
from tests.kit.outside.reader import Reader
from tests.kit.outside.words import Message
from tests.kit.parties.sides import Lost, Side
from tests.kit.polling import until
from tests.kit.servers import RabbitMQ, StoreServer

PATIENCE_S: Final = 300.0
CONNECT_S: Final = 30.0
PAUSE_S: Final = 0.1
PORTIONS_PER_S: Final = 10
LOST: Final = (OSError, amqp.AMQPError)


class Place(Protocol):
    """An installation, as whoever has an account of it knows it."""

    @property
    def namespace(self) -> str: ...

    @property
    def prefix(self) -> str: ...

    @property
    def broker(self) -> RabbitMQ | None: ...

    @property
    def store(self) -> StoreServer: ...

    @property
    def reader(self) -> Reader: ...

    @property
    def room(self) -> int:
        """How many events of a project may wait; parties are as large as that makes them."""
        ...

    @property
    def foreign_room(self) -> int:
        """The same of events that wait for one other project's items."""
        ...

    @property
    def victim(self) -> str:
        """A project of somebody honest."""
        ...


def connection_to(url: str) -> amqp.Connection:
    """Return a connection that is not open yet."""
    where = urlsplit(url)
    return amqp.Connection(
        f"{where.hostname}:{where.port}",
        where.username,
        where.password,
        virtual_host=where.path[1:],
        connect_timeout=CONNECT_S,
        read_timeout=PATIENCE_S,
    )


class Hose:
    """A connection that publishes many messages at once, and takes their confirms afterwards."""

    def __init__(self, url: str) -> None:
        """Connect; raises `Lost`."""
        self._confirmed = self._returned = 0
        self._connection = connection_to(url)
        try:
            self._connection.connect()
            self._channel: Any = self._connection.channel()
            self._channel.confirm_select()
        except LOST as error:
            self.close()
            raise Lost from error
        self._channel.events["basic_ack"].add(self._on_ack)
        self._channel.events["basic_return"].add(self._on_return)
        self._published = 0

    def publish(self, exchange: str, messages: Iterable[tuple[amqp.Message, str]]) -> bool:
        """Publish all, and wait for their confirms; say whether a queue took each of them.

        Raises:
            Lost: some may have arrived, and some not.
        """
        returned = self._returned
        try:
            for message, routing_key in messages:
                self._channel.basic_publish(message, exchange, routing_key, mandatory=True)
                self._published += 1
            while self._confirmed < self._published:
                self._connection.drain_events(timeout=PATIENCE_S)
        except LOST as error:
            raise Lost from error
        return self._returned == returned

    def listen(self) -> None:
        """Take in what the broker has to say meanwhile."""
        try:
            self._connection.drain_events(timeout=PAUSE_S)
        except TimeoutError:
            return
        except LOST as error:
            raise Lost from error

    def close(self) -> None:
        """Leave, in whatever state this is."""
        with suppress(*LOST):
            self._connection.close()

    def _on_ack(self, tag: int, _multiple: bool) -> None:
        self._confirmed = max(self._confirmed, tag)

    def _on_return(self, *_what: object) -> None:
        self._returned += 1


class Party(Side[Hose]):
    """One who publishes, with a producer's account, what a project of their own does to itself.

    What they have said is told to whoever checks the whole: nothing of it may be lost, either.
    """

    def __init__(self, place: Place, draw: Random) -> None:
        super().__init__(self._connected, type(self).__name__)
        self.place = place
        self.project = f"party-{draw.getrandbits(48):012x}"
        self.said: list[Sent] = []
        self.per_s = math.inf
        """How many messages a second; by itself as many as there is time for."""
        self.is_felt = Event()
        """From now on others could feel it: all that was to be prepared is."""
        self._is_done = False

    def finish(self) -> None:
        """Let them say what they have to say, to its end."""
        until(self.is_done, f"{self.project} has said it all", within_s=PATIENCE_S)
        self.close()

    def is_done(self) -> bool:
        """Whether all is said."""
        assert self.failure is None, f"{self.project}: {self.failure!r}"
        return self._is_done

    def outcome(self, heard: Outside) -> Iterator[Sent]:
        """Tell what was said, and what had to come of it as far as that is open to anybody."""
        del heard
        yield from self.said

    def problems(self, heard: Outside) -> Iterator[str]:
        """What is wrong with what came of it, beyond each event by itself."""
        del heard
        yield from ()

    def _act(self, hose: Hose) -> None:
        """Do it, once; after `Lost`, all over again."""
        raise NotImplementedError

    def _turn(self, line: Hose) -> None:
        if self._is_done:
            line.listen()
            return
        self._act(line)
        self.is_felt.set()
        self._is_done = True

    def _connected(self) -> Hose:
        broker = self.place.broker
        assert broker is not None
        return Hose(broker.url_of("producer", self.place.namespace))

    def _say(self, hose: Hose, sents: Sequence[Sent]) -> None:
        """Publish until a queue has taken all of it."""
        page = int(min(len(sents), max(self.per_s / PORTIONS_PER_S, 1)))
        for at in range(0, len(sents), page):
            self.is_felt.set()
            self._say_at_once(hose, sents[at : at + page])
            if self.per_s < math.inf and self._over.wait(page / self.per_s):
                return

    def _say_at_once(self, hose: Hose, sents: Sequence[Sent]) -> None:
        messages = [(self._written(sent.message), sent.message.routing_key) for sent in sents]
        while not hose.publish(f"{self.place.namespace}.events", messages):
            if self._over.wait(PAUSE_S):
                return

    def _written(self, message: Message) -> amqp.Message:
        return amqp.Message(message.body, content_type=message.content_type, delivery_mode=2)
