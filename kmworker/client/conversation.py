"""One connection, by which any number of threads ask at once.

Whoever waits for an answer reads for all: it gives the others what is theirs, and hands on when it
has its own. It waits without holding anything, so that others can ask meanwhile; and nobody waits
for another beyond its own deadline.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Final, Protocol

from kmworker.domain.message import Original, Outgoing
from kmworker.errors import BrokerUnavailable

__all__ = ["Conversation", "Inquiry"]

# A signal's handler runs between waits, so no wait is longer than this.
WAIT_SLICE_S: Final = 0.25
LOST: Final = "the connection was lost"
MAX_NOTICES: Final = 10_000
"""That nobody has heard yet; the oldest go first, and their copies are over by themselves."""


class Inquiry(Protocol):
    """Questions and their answers; every method raises `BrokerUnavailable` if the way is lost.

    For one thread at a time, but for `wait`.
    """

    @property
    def is_open(self) -> bool:
        """Return whether it is connected, as far as is known."""

    def open(self) -> None:
        """Connect if need be."""

    def ask(self, question: Outgoing) -> None:
        """Send a question, whose property `reply_to` is `DIRECT_REPLY`."""

    def wait(self, timeout_s: float) -> None:
        """Wait until something may have come; another may ask meanwhile."""

    def take(self) -> list[Original]:
        """Return the answers that have come; wait for none."""

    def close(self) -> None:
        """Leave."""


class Conversation:
    """Of one process. Every method raises `BrokerUnavailable` when the connection is lost."""

    def __init__(self, asker: Inquiry, on_open: Callable[[], None] = lambda: None) -> None:
        """Prepare to ask; nothing is sent yet.

        Args:
            asker: by which.
            on_open: called on each new connection, before anything is asked on it.
        """
        self._asker = asker
        self._on_open = on_open
        self._changed = threading.Condition()
        self._is_read = False
        """Whether one of the threads waits for what comes."""
        self._answers: dict[str, list[Original]] = {}
        """What has come, by the id of the request."""
        self._notices: deque[Original] = deque(maxlen=MAX_NOTICES)
        """What has come without being asked for."""
        self._generation = 0

    @contextmanager
    def about(self, request_id: str) -> Iterator[None]:
        """Keep the answers to a request, in the meantime."""
        self._answers[request_id] = []
        try:
            yield
        finally:
            del self._answers[request_id]

    def ask(self, question: Outgoing, until: float) -> int:
        """Send a question; return the number of the connection that it is asked on.

        Args:
            question: a request.
            until: monotonic seconds; connecting may take its own time beyond them.
        """
        with self._held(until):
            self._open()
            self._asker.ask(question)
            return self._generation

    def answers_to(self, request_id: str, generation: int, until: float) -> list[Original]:
        """Return what has come in answer to a request; wait for the first.

        Args:
            request_id: of one that `about` is about.
            generation: the number of the connection that it was asked on.
            until: monotonic seconds; nothing has come then.
        """

        def come() -> list[Original]:
            found, self._answers[request_id] = self._answers[request_id], []
            return found

        return self._waited_for(come, generation, until)

    def notices(self, until: float) -> list[Original]:
        """Return what has come without being asked for; connect if need be, wait for the first.

        Args:
            until: monotonic seconds; nothing has come then.
        """

        def come() -> list[Original]:
            found = list(self._notices)
            self._notices.clear()
            return found

        with self._held(until):
            self._open()
            generation = self._generation
        return self._waited_for(come, generation, until)

    def _waited_for(
        self, come: Callable[[], list[Original]], generation: int, until: float
    ) -> list[Original]:
        while True:
            with self._held(until):
                self._receive(generation)
                if found := come():
                    return found
                left_s = until - monotonic()
                if left_s <= 0:
                    return []
                if self._is_read:
                    self._changed.wait(min(left_s, WAIT_SLICE_S))
                    continue
                self._is_read = True
            try:
                self._asker.wait(min(left_s, WAIT_SLICE_S))
            finally:
                self._is_read = False

    def _open(self) -> None:
        if not self._asker.is_open:
            self._asker.open()
            self._generation += 1
            self._on_open()

    def close(self) -> None:
        """Leave the broker."""
        with self._changed:
            self._asker.close()
            self._changed.notify_all()

    def _receive(self, generation: int) -> None:
        """Give everybody what has come."""
        if not self._asker.is_open or self._generation != generation:
            raise BrokerUnavailable(LOST)
        try:
            arrived = self._asker.take()
        except BrokerUnavailable:
            self._changed.notify_all()
            raise
        for it in arrived:
            asked = it.properties.get("correlation_id")
            # Of one that was given up before nobody keeps anything.
            kept = self._notices if asked is None else self._answers.get(str(asked))
            if kept is not None:
                kept.append(it)
        if arrived:
            self._changed.notify_all()

    @contextmanager
    def _held(self, until: float) -> Iterator[None]:
        if not self._changed.acquire(timeout=max(0.0, until - monotonic())):
            raise BrokerUnavailable("another thread is connecting still")
        try:
            yield
        finally:
            self._changed.release()
