"""One connection, by which any number of threads ask at once.

Whoever waits for an answer reads for all: it gives the others what is theirs, and hands on when it
has its own. It waits without holding anything, so that others can ask meanwhile; and nobody waits
for another beyond its own deadline.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Final, Protocol

from kmworker.domain.message import Original, Outgoing
from kmworker.errors import BrokerUnavailable

__all__ = ["Conversation", "Inquiry"]

# A signal's handler runs between waits, so no wait is longer than this.
WAIT_SLICE_S: Final = 0.25
LOST: Final = "the connection was lost"


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

    def __init__(self, asker: Inquiry) -> None:
        """Prepare to ask; nothing is sent yet."""
        self._asker = asker
        self._changed = threading.Condition()
        self._is_read = False
        """Whether one of the threads waits for what comes."""
        self._answers: dict[str, list[Original]] = {}
        """What has come, by the id of the request."""
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
            if not self._asker.is_open:
                self._asker.open()
                self._generation += 1
            self._asker.ask(question)
            return self._generation

    def answers_to(self, request_id: str, generation: int, until: float) -> list[Original]:
        """Return what has come in answer to a request; wait for the first.

        Args:
            request_id: of one that `about` is about.
            generation: the number of the connection that it was asked on.
            until: monotonic seconds; nothing has come then.
        """
        while True:
            with self._held(until):
                self._receive(generation)
                if found := self._answers[request_id]:
                    self._answers[request_id] = []
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
            # Of one that was given up before nobody keeps anything.
            kept = self._answers.get(str(it.properties.get("correlation_id")))
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
