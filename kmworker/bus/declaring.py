"""The broker's names, kept in place: declared where we may, looked at where we may not.

From RabbitMQ 4.3 on, who has no right on a name may not even look whether it is there (4.2.6
and 4.3.0 want the right to configure it). What cannot be seen is taken to be there: whoever
consumes from it or publishes to it is told by the broker if it is not.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from amqp.exceptions import AccessRefused, NotFound, PreconditionFailed

from kmworker.errors import BrokerUnavailable, SetupError
from kmworker.wire.audit_records import RECORD_KEYS
from kmworker.wire.requests.definition import REQUESTS
from kmworker.wire.topology import EVERYTHING, QUORUM, Topology

__all__ = [
    "Declaring", "ensure_anchor", "ensure_audit", "ensure_requests", "ensure_revocations",
]  # fmt: skip


class Declaring:
    """Declares or checks the names of a topology, as often as is asked for.

    What was refused is not asked for again on the same connection: a broker logs each refusal.
    """

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._connection: Any = None
        self._may_declare = True
        self._unseen: set[str] = set()

    def ensure(self, connection: Any) -> None:
        """Declare what is missing; without the right to, check that it is there.

        Raises:
            SetupError: a name exists as something else.
            BrokerUnavailable: names are missing and may not be declared.
        """
        if connection is not self._connection:
            self._connection, self._may_declare, self._unseen = connection, True, set()
        try:
            self._declare_or_look()
        except PreconditionFailed as wrong:
            raise _something_else(f"one of {self._topology.namespace}.*", wrong) from None

    def _declare_or_look(self) -> None:
        if self._may_declare:
            try:
                _declare(self._connection, self._topology.exchanges, self._topology.bindings)
            except AccessRefused:
                self._may_declare = False
            else:
                return
        missing = [what for what, name in self._names() if not self._is_there(what, name)]
        if missing:
            raise BrokerUnavailable(
                f"{', '.join(missing)} missing on the broker; this user may not declare it,"
                " an administrator may: with config/rabbitmq/definitions.json"
            )

    def _names(self) -> Iterator[tuple[str, str]]:
        for exchange in self._topology.exchanges:
            yield f"exchange {exchange}", exchange
        for queue in self._topology.bindings:
            yield f"queue {queue}", queue

    def _is_there(self, what: str, name: str) -> bool:
        if what in self._unseen:
            return True
        channel = self._connection.channel()
        try:
            if what.startswith("exchange"):
                channel.exchange_declare(name, "topic", passive=True)
            else:
                channel.queue_declare(name, passive=True)
        except AccessRefused:
            self._unseen.add(what)
        except NotFound:
            return False
        finally:
            channel.close()
        return True


def ensure_anchor(connection: Any, topology: Topology) -> None:
    """Declare the anchor's names, if we may.

    They are not part of what every broker must have: without them only workers that were
    running notice a store that was rolled back. `Inspection.may_anchor` finds out.
    """
    anchor = topology.anchor
    try:
        _declare(connection, (anchor,), {anchor: anchor})
    except (AccessRefused, PreconditionFailed):
        return


def ensure_audit(connection: Any, topology: Topology) -> None:
    """Declare the audit trail's names, if we may; else whoever uses them is told by the broker.

    They are not part of what a worker needs: it records nothing while nobody asks it to.

    Raises:
        SetupError: one of them is something else.
    """
    audit = topology.audit
    try:
        _declare(connection, (audit,), {audit: audit}, RECORD_KEYS)
    except AccessRefused:
        return
    except PreconditionFailed as wrong:
        raise _something_else(audit, wrong) from None


def ensure_requests(connection: Any, topology: Topology) -> None:
    """Declare the names of clients' requests, if we may; else see that the queue is there.

    What bounds it is a policy's, which is an administrator's: `kmworker doctor` tells.

    Raises:
        SetupError: one of them is something else.
        BrokerUnavailable: the queue is missing, and may not be declared.
    """
    name = topology.requests
    bindings = [(name, request_type) for request_type in REQUESTS]
    _ensure(connection, name, bindings, kind="direct")


def ensure_revocations(connection: Any, topology: Topology) -> None:
    """Declare, as `ensure_requests` does, what tells key servers of what has ended."""
    _ensure(connection, topology.revocations, topology.ending, kind="topic")


def _ensure(connection: Any, name: str, bindings: Iterable[tuple[str, str]], *, kind: str) -> None:
    """Declare a queue and the exchanges that it is bound to, or see that it is there."""
    try:
        for exchange, key in bindings:
            _declare(connection, (exchange,), {name: exchange}, key, kind)
    except AccessRefused:
        _see(connection, name)
    except PreconditionFailed as wrong:
        raise _something_else(name, wrong) from None


def _see(connection: Any, queue: str) -> None:
    channel = connection.channel()
    try:
        channel.queue_declare(queue, passive=True)
    except AccessRefused:
        # Who may not look is told when he consumes.
        return
    except NotFound:
        raise BrokerUnavailable(
            f"queue {queue} missing on the broker; this user may not declare it,"
            " an administrator may: with config/rabbitmq/definitions.json"
        ) from None
    finally:
        channel.close()


def _something_else(name: str, wrong: PreconditionFailed) -> SetupError:
    hint = "delete it, or choose another broker.namespace"
    return SetupError(f"the broker has {name} as something else: {wrong}", hint)


def _declare(
    connection: Any,
    exchanges: tuple[str, ...],
    bindings: dict[str, str],
    key: str = EVERYTHING,
    kind: str = "topic",
) -> None:
    # The broker closes a channel on each refusal, and py-amqp quietly opens it again: so a
    # channel of its own, thrown away.
    channel = connection.channel()
    try:
        for exchange in exchanges:
            channel.exchange_declare(exchange, kind, durable=True, auto_delete=False, passive=False)
        for queue, exchange in bindings.items():
            channel.queue_declare(
                queue, durable=True, auto_delete=False, arguments=dict(QUORUM), passive=False
            )
            channel.queue_bind(queue, exchange, key)
    finally:
        channel.close()
