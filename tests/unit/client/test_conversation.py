"""Threads that ask by one connection: each hears what is its own, and of the connection's end."""

from queue import Empty, Queue
from threading import Thread
from time import monotonic
from typing import Any

import pytest

from kmworker.client.conversation import Conversation
from kmworker.domain.message import Original, Outgoing
from kmworker.errors import BrokerUnavailable
from tests.kit.polling import until

QUESTION = Outgoing("requests", "key-requested", b"", {})
SOON_S = 5.0


class Line:
    """A connection whose other end is ours."""

    def __init__(self) -> None:
        self.is_open = False
        self.asked = 0
        self.arrived: Queue[Original | None] = Queue()
        self._taken: list[Original] = []

    def open(self) -> None:
        self.is_open = True

    def ask(self, _question: Outgoing) -> None:
        self.asked += 1

    def wait(self, timeout_s: float) -> None:
        try:
            self._take(self.arrived.get(timeout=timeout_s))
        except Empty:
            return

    def take(self) -> list[Original]:
        if not self.is_open:
            raise BrokerUnavailable("gone")
        found, self._taken = self._taken, []
        return found

    def _take(self, it: Original | None) -> None:
        if it is None:
            self.is_open = False
        else:
            self._taken.append(it)


def answer(request_id: str, body: bytes = b"") -> Original:
    return Original(body, "", {"correlation_id": request_id})


@pytest.fixture
def line() -> Line:
    return Line()


@pytest.fixture
def conversation(line: Line) -> Conversation:
    it: Any = line
    return Conversation(it)


def heard(conversation: Conversation, request_id: str, into: dict[str, Any]) -> Thread:
    """Ask, and wait for the answer, in a thread."""

    def ask() -> None:
        soon = monotonic() + SOON_S
        with conversation.about(request_id):
            number = conversation.ask(QUESTION, soon)
            try:
                into[request_id] = conversation.answers_to(request_id, number, soon)
            except BrokerUnavailable as error:
                into[request_id] = str(error)

    thread = Thread(target=ask)
    thread.start()
    return thread


def test_each_thread_hears_what_is_its_own_whoever_reads_it(
    line: Line, conversation: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whoever has something is woken, and does not just look again.
    monkeypatch.setattr("kmworker.client.conversation.WAIT_SLICE_S", 2 * SOON_S)
    found: dict[str, Any] = {}
    names = [f"r{number}" for number in range(8)]
    threads = [heard(conversation, it, found) for it in names]
    until(lambda: line.asked == len(names), "all have asked")
    since = monotonic()
    # In another order, and between what nobody waits for.
    for name in reversed(names):
        line.arrived.put(answer("of nobody"))
        line.arrived.put(answer(name, name.encode()))
    for it in threads:
        it.join(SOON_S)
    assert {name: [it.body for it in found[name]] for name in names} == {
        name: [name.encode()] for name in names
    }
    assert monotonic() - since < SOON_S / 2


def test_all_hear_of_the_end_of_the_connection_they_asked_on(
    line: Line, conversation: Conversation
) -> None:
    found: dict[str, Any] = {}
    threads = [heard(conversation, f"r{number}", found) for number in range(4)]
    until(lambda: line.asked == len(threads), "all have asked")
    line.arrived.put(None)
    for it in threads:
        it.join(SOON_S)
    assert set(found.values()) <= {"gone", "the connection was lost"}
    assert len(found) == 4


def test_what_was_asked_on_a_connection_before_is_asked_again(
    line: Line, conversation: Conversation
) -> None:
    soon = monotonic() + SOON_S
    with conversation.about("r"):
        before = conversation.ask(QUESTION, soon)
        line.is_open = False
        # Another thread has connected meanwhile.
        conversation.ask(QUESTION, soon)
        with pytest.raises(BrokerUnavailable, match="lost"):
            conversation.answers_to("r", before, soon)


def test_nothing_by_the_deadline_is_nothing(conversation: Conversation) -> None:
    with conversation.about("r"):
        number = conversation.ask(QUESTION, monotonic() + SOON_S)
        assert conversation.answers_to("r", number, monotonic() + 0.05) == []
