"""The broker's side of the contract: names of exchanges and queues, and what is bound to what."""

from dataclasses import dataclass
from typing import Final

__all__ = ["EVERYTHING", "OWN_QUEUES", "QUORUM", "Topology"]

# And nothing else: limits are policies', which an operator can change without deleting
# a queue that holds events.
QUORUM: Final = {"x-queue-type": "quorum"}
EVERYTHING: Final = "#"
OWN_QUEUES: Final = 8
"""Of one client: as many of its processes can be told at a time, and it takes no more names."""


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
    def keys(self) -> str:
        """Return the exchange on which subscribers hear of key-ids as such."""
        return f"{self.namespace}.keys"

    @property
    def dead(self) -> str:
        """Return the exchange, and the queue, of what cannot be processed."""
        return f"{self.namespace}.dead"

    @property
    def anchor(self) -> str:
        """Return the exchange, and the queue, of the one message that workers keep there."""
        return f"{self.namespace}.anchor"

    @property
    def requests(self) -> str:
        """Return the exchange, and the queue, of what clients ask."""
        return f"{self.namespace}.requests"

    @property
    def revocations(self) -> str:
        """Return the exchange, and the queue, by which key servers learn what has ended."""
        return f"{self.namespace}.revocations"

    @property
    def ending(self) -> tuple[tuple[str, str], ...]:
        """Return what the queue of `revocations` is bound to: exchanges, and patterns there."""
        keys = ("key-suspended.#", "key-compromised.#", "key-destroyed.#")
        return (
            (self.revocations, EVERYTHING),
            (self.assignments, "key-released.#"),
            *((self.keys, pattern) for pattern in keys),
        )

    def client_queues(self, client: str) -> tuple[str, ...]:
        """Return the queues of a client's own, of which each of its processes may have one."""
        # No client's name has a slash in it, so none of these is another's.
        return tuple(f"{self.namespace}.clients.{client}/{place}" for place in range(OWN_QUEUES))

    @property
    def audit(self) -> str:
        """Return the exchange, and the queue, of records for the audit trail."""
        return f"{self.namespace}.audit"

    @property
    def exchanges(self) -> tuple[str, ...]:
        """Return the exchanges that a worker needs."""
        return (self.events, self.assignments, self.keys, self.revocations, self.dead)

    @property
    def bindings(self) -> dict[str, str]:
        """Return the queues that a worker needs, and what each is bound to with `EVERYTHING`."""
        return {self.work: self.events, self.dead: self.dead}
