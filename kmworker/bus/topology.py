"""The broker's side of the contract: exchanges, queues and bindings."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from amqp.exceptions import AccessRefused, NotFound, PreconditionFailed

from kmworker.errors import BrokerUnavailable, SetupError

__all__ = ["Topology"]

# And nothing else: limits are policies', which an operator can change without deleting
# a queue that holds events.
QUORUM: Final = {"x-queue-type": "quorum"}
EVERYTHING: Final = "#"


@dataclass(frozen=True, slots=True)
class Topology:
    """The names under one namespace."""

    namespace: str

    @property
    def events(self) -> str:
        """Return the exchange that producers publish to."""
        return f"{self.namespace}.events"

    @property
    def work(self) -> str:
        """Return the queue that workers compete on."""
        return f"{self.namespace}.events.work"

    @property
    def assignments(self) -> str:
        """Return the exchange that subscribers bind to."""
        return f"{self.namespace}.assignments"

    @property
    def dead(self) -> str:
        """Return the exchange, and the queue, of what cannot be processed."""
        return f"{self.namespace}.dead"

    @property
    def anchor(self) -> str:
        """Return the exchange, and the queue, of the one message that workers keep there."""
        return f"{self.namespace}.anchor"

    def ensure_anchor(self, connection: Any) -> bool:
        """Declare the anchor's names or check that they are there; say whether they are.

        Not part of what every broker must have: without it only workers that were running
        notice a store that went back in time.
        """
        for passive in (False, True):
            channel = connection.channel()
            try:
                self._declare(channel, (self.anchor,), {self.anchor: self.anchor}, passive=passive)
            except (AccessRefused, NotFound, PreconditionFailed):
                continue
            channel.close()
            return True
        return False

    def ensure(self, connection: Any) -> None:
        """Declare what is missing; without the right to, check that it is there.

        Raises:
            SetupError: a name exists as something else.
            BrokerUnavailable: a name is missing and may not be declared.
        """
        try:
            self._on_new_channel(connection, passive=False)
        except AccessRefused:
            self._on_new_channel(connection, passive=True)

    def _on_new_channel(self, connection: Any, *, passive: bool) -> None:
        # The broker closes a channel on each of these errors, and py-amqp would quietly
        # open it again: so a channel of its own, thrown away.
        channel = connection.channel()
        try:
            exchanges = (self.events, self.assignments, self.dead)
            queues = {self.work: self.events, self.dead: self.dead}
            self._declare(channel, exchanges, queues, passive=passive)
        except PreconditionFailed as wrong:
            raise SetupError(
                f"the broker has one of {self.namespace}.* as something else: {wrong}",
                hint="delete it, or choose another broker.namespace",
            ) from None
        except NotFound as missing:
            raise BrokerUnavailable(
                f"{missing}; this user may not declare it (see config/rabbitmq/)"
            ) from None
        channel.close()

    def _declare(
        self,
        channel: Any,
        exchanges: Iterable[str],
        queues: Mapping[str, str],
        *,
        passive: bool,
    ) -> None:
        for exchange in exchanges:
            channel.exchange_declare(
                exchange, "topic", durable=True, auto_delete=False, passive=passive
            )
        for queue, exchange in queues.items():
            channel.queue_declare(
                queue, durable=True, auto_delete=False, arguments=dict(QUORUM), passive=passive
            )
            if not passive:
                channel.queue_bind(queue, exchange, EVERYTHING)
