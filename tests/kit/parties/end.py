"""The outside's end of a broker: one producer, one listener, and queues that outlast it."""

from abc import abstractmethod
from collections.abc import Callable

from tests.kit.outside.heard import Heard, Outside
from tests.kit.outside.words import Message
from tests.kit.parties.sides import Line, Listener, Producer
from tests.kit.parties.steady import EVERY_S, Steady

EXCHANGES = ("assignments", "dead")


class End(Outside):
    """All that the outside does with a broker; the checks know it as a client."""

    def __init__(self, url_of: Callable[[str], str], namespace: str) -> None:
        self.url_of = url_of
        self.namespace = namespace
        self.heard = Heard()
        self.producer = Producer(self._line, "producer")
        self.listener = Listener(self._listening_line, "listener")

    def steady(self, project: str, every_s: float = EVERY_S) -> Steady:
        """Return somebody honest with a connection of their own, who has not begun yet."""
        return Steady(self._line, self.heard, project, every_s)

    def new_line(self) -> Line:
        """Return one more connection, for somebody's own thread."""
        return self._line()

    def bind(self) -> None:
        """Bind our queues again, where their exchange had gone."""
        self._bind()

    def open(self) -> None:
        """Bind queues of our own that are durable, and begin to listen."""
        self._bind()
        self.listener.start()
        self.producer.start()

    def close(self) -> None:
        self.producer.close()
        self.listener.close()

    def publish(self, message: Message) -> None:
        """Hand over one message; `producer.is_done` says when all are confirmed."""
        self.producer.give(message)

    def pump(self) -> None:
        """Wait a moment; the listener's thread takes in what comes."""
        self.listener.pause()

    def queues(self) -> list[str]:
        """Return the names of all queues, the product's and ours."""
        own = [self._queue(exchange) for exchange in EXCHANGES]
        return [*own, *(f"{self.namespace}.{name}" for name in ("events.work", "dead", "anchor"))]

    @abstractmethod
    def _bind(self) -> None: ...

    @abstractmethod
    def _line(self) -> Line: ...

    @abstractmethod
    def _listening_line(self) -> Line: ...

    def _queue(self, exchange: str) -> str:
        """Name a queue of a subscriber's."""
        return f"{self.namespace}.sub.outside-{exchange}"
