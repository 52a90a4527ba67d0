"""Those who may only listen or look, and do it so that others could suffer."""

import socket
from random import Random
from threading import Event, Thread
from typing import Final
from urllib.parse import urlsplit

import amqp

from tests.kit.parties.party import Place, connection_to

FULL: Final = {"x-queue-type": "quorum", "x-max-length": 1, "x-overflow": "reject-publish"}
UNREAD: Final = 4
SEND_S: Final = 0.2
# Without a pause they would keep Redis busy, which has one processor and no means against that:
# half a gigabyte is then unread within some ten seconds.
EVERY_S: Final = 0.2


class FullSubscriber:
    """A subscriber's queue of every assignment, with room for one, which refuses the rest."""

    def __init__(self, place: Place, draw: Random) -> None:
        self._place = place
        self._queue = f"{place.namespace}.sub.full-{draw.getrandbits(48):012x}"

    def start(self) -> None:
        """Bind the queue."""
        with self._connection() as connection:
            channel = connection.channel()
            channel.queue_declare(self._queue, durable=True, auto_delete=False, arguments=FULL)
            exchange = f"{self._place.namespace}.assignments"
            channel.queue_bind(self._queue, exchange, "key-assigned.#")

    def finish(self) -> None:
        """Delete it."""
        with self._connection() as connection:
            connection.channel().queue_delete(self._queue)

    def _connection(self) -> amqp.Connection:
        assert self._place.broker is not None
        url = self._place.broker.url_of("subscriber", self._place.namespace)
        return connection_to(url)


class UnreadReplies:
    """Connections of a dashboard's that ask for all there is, again and again, and never read."""

    def __init__(self, place: Place, draw: Random) -> None:
        del draw
        self._place = place
        self._over = Event()
        self._failure: BaseException | None = None
        self._threads = [Thread(target=self._run, daemon=True) for _ in range(UNREAD)]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def finish(self) -> None:
        """Hang up."""
        self._over.set()
        for thread in self._threads:
            thread.join()
        assert self._failure is None, repr(self._failure)

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                self._ask()
            except OSError:
                # Closed, as whoever does that is. Or the server is away; both for a moment.
                self._over.wait(SEND_S)
            except BaseException as error:  # noqa: BLE001  # told to the test by `finish`
                self._failure = error
                return

    def _ask(self) -> None:
        where = urlsplit(self._place.store.url_of("dashboard", self._place.prefix))
        login = packed("AUTH", where.username or "", where.password or "")
        question = packed("XRANGE", f"{self._place.prefix}:feed", "-", "+")
        with socket.create_connection(("127.0.0.1", where.port or 0), SEND_S) as line:
            left = login
            while not self._over.is_set():
                try:
                    left = left[line.send(left) :]
                except TimeoutError:
                    # It takes no more while so much is unread.
                    continue
                if not left and not self._over.wait(EVERY_S):
                    left = question


def packed(*words: str) -> bytes:
    """Write a command as it goes over the wire, without a client library's greetings."""
    parts = [f"${len(word.encode())}\r\n{word}\r\n" for word in words]
    return f"*{len(words)}\r\n{''.join(parts)}".encode()
