"""Threads that publish and listen all the while, whatever happens to the broker."""

from collections.abc import Callable
from queue import Queue
from threading import Event, Thread
from typing import Final, Generic, Protocol, TypeVar

from tests.kit.outside.words import Message

RETRY_S: Final = 0.1
JOIN_S: Final = 60.0


class Lost(Exception):
    """The connection is gone; what was not confirmed may or may not have arrived."""


class Line(Protocol):
    """A connection to the broker, for one thread. Each method may raise `Lost`."""

    def publish(self, message: Message) -> bool:
        """Publish one event and wait for its confirm; say whether a queue took it."""
        ...

    def listen(self) -> None:
        """Take in what comes within a moment."""
        ...

    def close(self) -> None:
        """Leave, in whatever state this is."""
        ...


class Closing(Protocol):
    """What can be left, in whatever state it is."""

    def close(self) -> None: ...


L = TypeVar("L", bound=Closing)


class Side(Generic[L]):
    """A thread with a line of its own, connected anew as often as it is lost."""

    def __init__(self, connect: Callable[[], L], name: str) -> None:
        self._connect = connect
        self._line: L | None = None
        self._over = Event()
        # A broken promise of the tests' own code must fail the test, wherever it shows.
        self.failure: BaseException | None = None
        self._thread = Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def leave(self) -> None:
        """Let it end, without waiting for that: something else has failed."""
        self._over.set()

    def close(self) -> None:
        self.leave()
        self._thread.join(JOIN_S)
        assert not self._thread.is_alive(), f"{self._thread.name} does not end"
        assert self.failure is None, f"{self._thread.name}: {self.failure!r}"

    def _run(self) -> None:
        try:
            while not self._over.is_set():
                self._turn_or_wait()
        except BaseException as error:  # noqa: BLE001  # told to the test by `close`
            self.failure = error
        finally:
            if self._line is not None:
                self._line.close()

    def _turn_or_wait(self) -> None:
        try:
            if self._line is None:
                self._line = self._connect()
            self._turn(self._line)
        except Lost:
            if self._line is not None:
                self._line.close()
            self._line = None
            self._over.wait(RETRY_S)

    def _turn(self, line: L) -> None:
        raise NotImplementedError


class Listener(Side[Line]):
    """Hears everything that is announced and refused."""

    def pause(self) -> None:
        """Give it a moment to hear more."""
        self._over.wait(RETRY_S)
        assert self.failure is None, f"the listener: {self.failure!r}"

    def _turn(self, line: Line) -> None:
        line.listen()


class Producer(Side[Line]):
    """Publishes what it is given, in order, each until it is confirmed.

    An event whose confirm is lost is published again, as producers are told to do: it may
    then be there twice.
    """

    def __init__(self, connect: Callable[[], Line], name: str) -> None:
        super().__init__(connect, name)
        self._given: Queue[Message] = Queue()
        self._sending: Message | None = None
        self.confirmed = 0
        self.repeated = 0

    def give(self, message: Message) -> None:
        self._given.put(message)

    @property
    def is_done(self) -> bool:
        """Whether all that was given is confirmed."""
        assert self.failure is None, f"the producer: {self.failure!r}"
        return self._sending is None and self._given.empty()

    def _turn(self, line: Line) -> None:
        if self._sending is None:
            if self._given.empty():
                line.listen()
                return
            # Before it leaves the queue, or `is_done` would be true for a moment.
            self._sending = self._given.queue[0]
            self._given.get_nowait()
        try:
            # Not routed: the first worker has not bound its queue yet, or binds it again.
            if line.publish(self._sending):
                self._sending = None
                self.confirmed += 1
            else:
                self._over.wait(RETRY_S)
        except Lost:
            self.repeated += 1
            raise
