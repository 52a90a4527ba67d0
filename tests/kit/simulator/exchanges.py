"""A broker's names: exchanges, queues, and what is bound to what."""

import re
from typing import Final

from amqp.exceptions import NotFound

from tests.kit.simulator.wire import Queue

DEFAULT: Final = ""
"""The exchange to which each queue is bound by its name."""


class Exchanges:
    """Topic exchanges and the queues bound to them."""

    def __init__(self) -> None:
        self.queues: dict[str, Queue] = {}
        self._exchanges: set[str] = set()
        self._bindings: dict[tuple[str, str, str], None] = {}

    def declare_exchange(self, name: str, *, passive: bool = False) -> None:
        """Declare an exchange, or see whether it is there."""
        if passive and name not in self._exchanges:
            raise NotFound(f"no exchange '{name}'")
        self._exchanges.add(name)

    def declare_queue(self, name: str, *, passive: bool = False) -> tuple[str, int, int]:
        """Declare a queue, or see whether it is there; return its messages and consumers."""
        if passive and name not in self.queues:
            raise NotFound(f"no queue '{name}'")
        queue = self.queues.setdefault(name, Queue(name))
        return name, len(queue.ready), self.consumers_of(queue)

    def bind(self, queue: str, exchange: str, pattern: str) -> Queue:
        """Bind a queue, declaring it if need be; binding twice is binding once."""
        self._bindings[exchange, pattern, queue] = None
        return self.queues.setdefault(queue, Queue(queue))

    def has_exchange(self, name: str) -> bool:
        """Return whether there is such an exchange."""
        return name in {*self._exchanges, DEFAULT}

    def delete_exchange(self, name: str) -> None:
        """Take an exchange away, with all that is bound to it."""
        self._exchanges.discard(name)
        self._bindings = {binding: None for binding in self._bindings if binding[0] != name}

    def unbind(self, queue: str) -> None:
        """Take away all of a queue's bindings."""
        self._bindings = {binding: None for binding in self._bindings if binding[2] != queue}

    def routed(self, exchange: str, routing_key: str) -> list[Queue]:
        """Return the queues that a message goes to."""
        if exchange == DEFAULT:
            return [self.queues[routing_key]] if routing_key in self.queues else []
        names = {
            queue
            for bound, pattern, queue in self._bindings
            if bound == exchange and _matches(pattern, routing_key)
        }
        return [self.queues[name] for name in sorted(names)]

    def consumers_of(self, _queue: Queue) -> int:
        """Count those that are handed a queue's messages."""
        return 0


def _matches(pattern: str, routing_key: str) -> bool:
    """Compare as a topic exchange does: ``*`` is one word, ``#`` any number of them."""
    if pattern == "#":
        return True
    words = [re.escape(word) for word in pattern.split(".")]
    parts = [{r"\*": r"\.[^.]*", r"\#": r"(?:\.[^.]*)*"}.get(word, rf"\.{word}") for word in words]
    return re.fullmatch("".join(parts), f".{routing_key}") is not None
