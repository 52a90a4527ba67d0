"""Looking at a broker without leaving a trace on it.

A right is found out by asking for what the broker refuses in any case: it looks at the
right first, so the kind of refusal tells. Nothing is ever consumed or published.
"""

from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any, Final

from amqp import Message, spec
from amqp.exceptions import AccessRefused, NotFound, PreconditionFailed

from kmworker.bus.amqp.link import Link
from kmworker.errors import NotCounted
from kmworker.ports import QueueCounts
from kmworker.wire.topology import QUORUM, Topology

__all__ = ["Inspection"]

# Not a priority, and not a number of milliseconds.
NEVER: Final = "never"


class _Answer(Enum):
    YES = "yes"
    MISSING = "missing"
    FORBIDDEN = "forbidden"
    DIFFERENT = "different"
    """It is there or permitted, but not with the arguments of the question."""


_MISSING, _FORBIDDEN, _DIFFERENT = _Answer.MISSING, _Answer.FORBIDDEN, _Answer.DIFFERENT


class Inspection:
    """Answers questions about a broker; all raise `BrokerUnavailable` if it goes away."""

    def __init__(self, link: Link, topology: Topology) -> None:
        self._link = link
        self._topology = topology

    def server(self) -> str:
        """Return the broker's name and version."""
        properties: dict[str, Any] = self._link.connection.server_properties
        return f"{properties.get('product', 'unknown')} {self.version()}".strip()

    @property
    def user(self) -> str:
        """Return who asks, as the broker calls them."""
        return self._link.user or "of this certificate"

    def version(self) -> str:
        """Return the broker's version; empty where it says none."""
        return str(self._link.connection.server_properties.get("version", ""))

    def counts(self) -> QueueCounts:
        """Return what is ready in the work and dead queues, and who consumes.

        Raises:
            NotCounted: this user may not look, or a queue is not there.
        """
        found: dict[str, tuple[int, int]] = {}

        def count(channel: Any, queue: str) -> None:
            _name, messages, consumers = channel.queue_declare(queue, passive=True)
            found[queue] = messages, consumers

        for queue in self._queues():
            answer = self._ask(count, queue)
            if answer is _FORBIDDEN:
                raise NotCounted(
                    f"user {self.user} may not look at {queue}; the account worker may"
                )
            if answer is not _Answer.YES:
                raise NotCounted(f"queue {queue} is {answer.value}")
        (work, consumers), (dead, _subscribers) = (found[queue] for queue in self._queues())
        return QueueCounts(work, dead, consumers)

    def missing_names(self) -> list[str]:
        """Return the exchanges and queues that are not there."""
        exchanges = self._topology.exchanges
        return [
            *(f"exchange {it}" for it in exchanges if self._ask(_is_exchange, it) is _MISSING),
            *(f"queue {it}" for it in self._queues() if self._ask(_is_queue, it) is _MISSING),
        ]

    def other_queues(self) -> list[str]:
        """Return the queues that are no durable quorum queues, as far as that can be seen.

        Asks for queues that are there (see `missing_names`): a passive declaration does not
        look at the type. This one does, and changes nothing; without the right to configure,
        the type cannot be seen.
        """
        return [it for it in self._queues() if self._ask(_is_quorum_queue, it) is _DIFFERENT]

    def missing_rights(self) -> Iterator[str]:
        """Give each right that a worker needs and this user lacks."""
        topology = self._topology
        if self._ask(_consume_in_vain, topology.work) is _FORBIDDEN:
            yield f"read {topology.work}"
        for exchange in (
            topology.assignments, topology.keys, topology.revocations, topology.dead,
        ):  # fmt: skip
            if self._ask(_publish_in_vain, exchange) is _FORBIDDEN:
                yield f"write {exchange}"

    def audit_queue(self) -> tuple[int, int] | None:
        """Return what is ready in the audit trail's queue, and who consumes; None: not there.

        Raises:
            NotCounted: this user may not look.
        """
        return self._counted(self._topology.audit)

    def request_queue(self) -> tuple[int, int] | None:
        """Return how many requests of clients are ready, and who consumes; None: not there.

        Raises:
            NotCounted: this user may not look.
        """
        return self._counted(self._topology.requests)

    def _counted(self, name: str) -> tuple[int, int] | None:
        """Return what is ready in the queue of an exchange's name, and who consumes."""
        found: list[tuple[int, int]] = []

        def count(channel: Any, queue: str) -> None:
            _name, messages, consumers = channel.queue_declare(queue, passive=True)
            found.append((messages, consumers))

        if self._ask(_is_exchange, name) is _MISSING:
            return None
        answer = self._ask(count, name)
        if answer is _FORBIDDEN:
            raise NotCounted(f"user {self.user} may not look at {name}")
        return found[0] if found else None

    def may_record(self) -> bool:
        """Return whether this user may write records for the audit trail."""
        return self._ask(_record_in_vain, self._topology.audit) is not _FORBIDDEN

    def may_anchor(self, *, only_reads: bool = False) -> bool:
        """Return whether the anchor is there, and this user may read and write it."""
        name = self._topology.anchor
        questions = (_consume_in_vain,) if only_reads else (_consume_in_vain, _publish_in_vain)
        answers = {self._ask(question, name) for question in questions}
        return answers.isdisjoint({_FORBIDDEN, _MISSING})

    def _queues(self) -> tuple[str, str]:
        return self._topology.work, self._topology.dead

    def _ask(self, question: Callable[[Any, str], object], name: str) -> _Answer:
        """Put a question on a channel of its own: the broker closes it on a refusal."""
        with self._link.call():
            channel = self._link.connection.channel()
            try:
                question(channel, name)
            except NotFound:
                return _Answer.MISSING
            except AccessRefused:
                return _Answer.FORBIDDEN
            except PreconditionFailed:
                return _Answer.DIFFERENT
            finally:
                channel.close()
            return _Answer.YES


def _is_exchange(channel: Any, exchange: str) -> None:
    channel.exchange_declare(exchange, "topic", passive=True)


def _is_queue(channel: Any, queue: str) -> None:
    channel.queue_declare(queue, passive=True)


def _is_quorum_queue(channel: Any, queue: str) -> None:
    channel.queue_declare(queue, durable=True, auto_delete=False, arguments=dict(QUORUM))


def _consume_in_vain(channel: Any, queue: str) -> None:
    """Ask to consume with a priority that is none."""
    channel.basic_consume(queue, arguments={"x-priority": NEVER})


def _record_in_vain(channel: Any, exchange: str) -> None:
    """Ask the same of a record, whose routing keys are permitted apart."""
    _publish_in_vain(channel, exchange, f"record.{NEVER}")


def _publish_in_vain(channel: Any, exchange: str, key: str = NEVER) -> None:
    """Ask to publish what would expire at no time, for a user that is not there."""
    message = Message(b"", expiration=NEVER, user_id=f"{NEVER} a user")
    channel.send_method(spec.Basic.Publish, "Bssbb", (0, exchange, key, False, False), message)
    # Publishing has no answer of its own; whatever comes next brings the refusal with it.
    channel.basic_qos(0, 1, False)  # noqa: FBT003  # per consumer, of which there is none
